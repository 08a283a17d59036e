//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* connect(2) calls that fail before the socket changes its state: no route, no
 * right, no free port. All others are told by state.bpf.c. */
#include "attempt.h"
#include "file.h"
#include "syscall.h"

SEC("tracepoint/syscalls/sys_enter_connect")
int connect_began(struct sys_enter *call)
{
	struct socket *socket = socket_of_fd(call->args[0]);
	void *from = (void *)call->args[1];
	struct address to = {};

	if (!socket)
		return 0;
	bpf_probe_read_user(&to, sizeof(to) - sizeof(to.v6), from);
	if (to.family == AF_INET6)
		bpf_probe_read_user(&to, sizeof(to), from);
	attempt_begins(socket, &to);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_connect")
int connect_ended(struct sys_exit *call)
{
	attempt_ended(call->ret);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
