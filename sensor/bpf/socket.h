/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Reading a socket: its ends, its namespace, its counters. */
#pragma once

#include "kernel.h"
#include "wire.h"

static __always_inline void read_ends(struct nv_socket_event *e, struct sock *sk)
{
	e->netns = READ(sk, __sk_common.skc_net.net, ns.inum);
	e->protocol = READ(sk, sk_protocol);
	e->family = READ(sk, __sk_common.skc_family);
	e->local_port = READ(sk, __sk_common.skc_num);
	if (!e->local_port) /* once the socket is closed; this stays */
		e->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	e->remote_port = bpf_ntohs(READ(sk, __sk_common.skc_dport));
	if (e->family == AF_INET6) {
		BPF_CORE_READ_INTO(&e->local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&e->remote, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	} else {
		*(__u32 *)e->local = READ(sk, __sk_common.skc_rcv_saddr);
		*(__u32 *)e->remote = READ(sk, __sk_common.skc_daddr);
	}
}

static __always_inline bool is_inet(struct sock *sk)
{
	__u16 family = READ(sk, __sk_common.skc_family);

	return family == AF_INET || family == AF_INET6;
}

static __always_inline bool is_tcp(struct sock *sk)
{
	return READ(sk, sk_protocol) == IPPROTO_TCP && is_inet(sk);
}

#ifdef BY_BTF
/* The verifier takes no cast to another type than this. */
#define tcp_of(sk) bpf_skc_to_tcp_sock(sk)
#else
#define tcp_of(sk) ((struct tcp_sock *)(sk))
#endif

/* read_counters reads what was transferred when a connection has just ended.
 * They count SYN and FIN as bytes: what is left is the user's. */
static __always_inline void read_counters(struct nv_socket_event *e, struct sock *sk, int from)
{
	bool fin_sent = from == TCP_FIN_WAIT1 || from == TCP_FIN_WAIT2 || from == TCP_CLOSING || from == TCP_LAST_ACK;
	struct tcp_sock *tp = tcp_of(sk);
	__u32 una, next, end;

	if (!tp)
		return;
	una = READ(tp, snd_una);
	next = READ(tp, snd_nxt);
	end = READ(tp, write_seq);
	e->bytes_received = READ(tp, bytes_received);
	e->srtt_us = READ(tp, srtt_us);
	e->retransmits = READ(tp, total_retrans);
	e->fin_received = READ(sk, __sk_common.skc_flags) >> SOCK_DONE & 1;
	e->fin_acked = fin_sent && una == end;
	if (e->role != NV_UNKNOWN) {
		e->bytes_sent = READ(tp, bytes_acked);
		if (e->role == NV_CONNECTED && e->bytes_sent) /* our SYN */
			e->bytes_sent--;
		if (e->fin_acked && e->bytes_sent)
			e->bytes_sent--;
	} else { /* Was there a SYN of ours? What was sent tells, less what is on its way. */
		__u64 sent = READ(tp, bytes_sent) - READ(tp, bytes_retrans);
		__u32 unacked = next - una;

		if (fin_sent && !e->fin_acked && next == end && unacked)
			unacked--; /* our FIN */
		e->bytes_sent = sent > unacked ? sent - unacked : 0;
	}
	if (e->fin_received && e->bytes_received)
		e->bytes_received--;
}
