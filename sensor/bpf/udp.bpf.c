//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Kernels from 6.4 on tell of everything that a process sends, by whatever call. */
#define BY_BTF
#include "datagram.h"

SEC("tp_btf/sock_send_length")
int BPF_PROG(sent, struct sock *sk, int ret, int flags)
{
	if (sk->sk_protocol == IPPROTO_UDP)
		datagram_sent(sk, ret);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
