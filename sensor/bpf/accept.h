/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A process has taken a connection from a listener. */
#pragma once

#include "cookie.h"
#include "owner.h"
#include "socket.h"

static __always_inline void accepted(struct sock *sk)
{
	struct owner *known, o = { .role = NV_ACCEPTED, .established = 1 };
	struct nv_socket_event *e;

	if (!is_tcp(sk))
		return;
	known = owner_of(sk);
	if (known) { /* state.bpf.c has seen it begin, or another hook has told it */
		if (known->role == NV_ACCEPTED && known->tgid)
			return;
		known->role = NV_ACCEPTED;
		current_owner(known);
	} else {
		known = &o;
		o.cookie = cookie_of(sk);
		current_owner(&o);
		/* One that has ended before it was accepted must not be remembered for ever. */
		if (READ(sk, __sk_common.skc_state) != TCP_CLOSE)
			remember(sk, &o);
	}
	e = begin_event(NV_ACCEPT);
	if (!e)
		return;
	copy_owner(e, known);
	read_ends(e, sk);
	send_event(e);
}
