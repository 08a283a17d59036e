//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* inet_csk_accept of net/ipv4/inet_connection_sock.c: every way in which a process
 * takes a connection, io_uring's and that of 32-bit programs too. A call that was
 * waiting before the program was attached is not seen. */
#include "accept.h"

SEC("fexit/inet_csk_accept")
int inet_csk_accept_ended(void *call)
{
	struct sock *sk = NULL;

	/* How many arguments there are depends on the kernel. */
	if (bpf_get_func_ret(call, (__u64 *)&sk) || !sk)
		return 0;
	/* One that has ended already is not remembered, and accept.bpf.c tells it. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_CLOSE)
		accepted(sk);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
