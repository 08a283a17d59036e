//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* inet_accept of net/ipv4/af_inet.c: every way in which a process takes a
 * connection, io_uring's and that of 32-bit programs too. */
#include "accept.h"

SEC("fexit/inet_accept")
int BPF_PROG(inet_accept_ended, struct socket *listener, struct socket *socket)
{
	struct sock *sk = BPF_CORE_READ(socket, sk); /* none after a failure */

	if (sk)
		accepted(sk);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
