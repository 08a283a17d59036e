//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* udp_sendmsg and udpv6_sendmsg, of net/ipv4/udp.c and net/ipv6/udp.c. */
#define BY_BTF
#include "datagram.h"

static __always_inline int sendmsg(struct sock *sk, struct msghdr *message, int ret)
{
	if (!message->msg_name) /* else to another address than the socket's */
		datagram_sent(sk, ret);
	return 0;
}

SEC("fexit/udp_sendmsg")
int BPF_PROG(udp_sent, struct sock *sk, struct msghdr *message, unsigned long length, int ret)
{
	return sendmsg(sk, message, ret);
}

SEC("fexit/udpv6_sendmsg")
int BPF_PROG(udpv6_sent, struct sock *sk, struct msghdr *message, unsigned long length, int ret)
{
	/* To an IPv4-mapped address it has gone through udp_sendmsg, with a name. */
	return sendmsg(sk, message, ret);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
