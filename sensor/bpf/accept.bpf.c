//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A process takes a connection from a listener, by accept(2) or accept4(2). The
 * end of the call is used, since a call may have begun before the sensor. */
#include "file.h"
#include "owner.h"
#include "socket.h"
#include "syscall.h"

static __always_inline int accepted(__s64 fd)
{
	struct owner *known, o = { .role = NV_ACCEPTED, .established = 1 };
	struct nv_socket_event *e;
	struct socket *socket;
	struct sock *sk;

	if (fd < 0)
		return 0;
	socket = socket_of_fd(fd);
	if (!socket)
		return 0;
	sk = BPF_CORE_READ(socket, sk);
	if (!sk || !is_tcp(sk))
		return 0;
	known = owner_of(sk);
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
		return 0;
	copy_owner(e, &o);
	read_ends(e, sk);
	send_event(e);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int accept4_ended(struct sys_exit *call)
{
	return accepted(call->ret);
}

SEC("tracepoint/syscalls/sys_exit_accept")
int accept_ended(struct sys_exit *call)
{
	return accepted(call->ret);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
