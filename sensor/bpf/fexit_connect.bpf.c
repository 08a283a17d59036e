//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* inet_stream_connect of net/ipv4/af_inet.c: what connect.bpf.c sees, and the
 * same for io_uring and 32-bit programs. */
#include "attempt.h"

SEC("fentry/inet_stream_connect")
int BPF_PROG(stream_connect_began, struct socket *socket, struct sockaddr *from)
{
	struct address to = {};

	bpf_probe_read_kernel(&to, sizeof(to) - sizeof(to.v6), from);
	if (to.family == AF_INET6)
		bpf_probe_read_kernel(&to, sizeof(to), from);
	attempt_begins(socket, &to);
	return 0;
}

SEC("fexit/inet_stream_connect")
int BPF_PROG(stream_connect_ended, struct socket *socket, struct sockaddr *from, int length, int flags, int ret)
{
	attempt_ended(ret);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
