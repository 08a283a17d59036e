//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* accept(2) and accept4(2). The end of the call is used, since a call may have
 * begun before the sensor. */
#include "accept.h"
#include "file.h"
#include "syscall.h"

static __always_inline int ended(__s64 fd)
{
	struct socket *socket;
	struct sock *sk;

	if (fd < 0)
		return 0;
	socket = socket_of_fd(fd);
	if (!socket)
		return 0;
	sk = BPF_CORE_READ(socket, sk);
	if (sk)
		accepted(sk);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int accept4_ended(struct sys_exit *call)
{
	return ended(call->ret);
}

SEC("tracepoint/syscalls/sys_exit_accept")
int accept_ended(struct sys_exit *call)
{
	return ended(call->ret);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
