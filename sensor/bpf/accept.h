/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A process has taken a connection from a listener. */
#pragma once

#include "owner.h"
#include "socket.h"

static __always_inline void accepted(struct sock *sk)
{
	struct owner *known, o = { .role = NV_ACCEPTED, .established = 1 };
	struct nv_socket_event *e;

	if (!is_tcp(sk))
		return;
	known = owner_of(sk);
	if (known && known->role == NV_ACCEPTED && known->tgid) /* another hook has told it */
		return;
	if (known) {
		o.start = known->start;
		o.cookie = known->cookie;
	} else {
		o.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	}
	current_owner(&o);
	/* One that has ended before it was accepted must not be remembered for ever. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_CLOSE)
		remember(sk, &o);
	e = begin_event(NV_ACCEPT);
	if (!e)
		return;
	copy_owner(e, &o);
	read_ends(e, sk);
	send_event(e);
}
