/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Reading a socket: its ends, its namespace, its counters. */
#pragma once

#include "kernel.h"
#include "wire.h"

static __always_inline void read_ends(struct nv_socket_event *e, struct sock *sk)
{
	e->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	e->protocol = BPF_CORE_READ(sk, sk_protocol);
	e->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	/* skc_num is 0 once the socket is closed; this is not. */
	e->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	if (!e->local_port)
		e->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	e->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (e->family == AF_INET6) {
		BPF_CORE_READ_INTO(&e->local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&e->remote, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	} else {
		BPF_CORE_READ_INTO((__u32 *)e->local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__u32 *)e->remote, sk, __sk_common.skc_daddr);
	}
}

static __always_inline bool is_inet(struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return family == AF_INET || family == AF_INET6;
}

static __always_inline bool is_tcp(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP && is_inet(sk);
}

/* read_counters reads what was transferred when a connection has just ended.
 * They count SYN and FIN as bytes: what is left is the user's. */
static __always_inline void read_counters(struct nv_socket_event *e, struct sock *sk, int from)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	bool fin_sent = from == TCP_FIN_WAIT1 || from == TCP_FIN_WAIT2 || from == TCP_CLOSING || from == TCP_LAST_ACK;

	__u32 una = BPF_CORE_READ(tp, snd_una), next = BPF_CORE_READ(tp, snd_nxt), end = BPF_CORE_READ(tp, write_seq);

	e->bytes_received = BPF_CORE_READ(tp, bytes_received);
	e->srtt_us = BPF_CORE_READ(tp, srtt_us);
	e->retransmits = BPF_CORE_READ(tp, total_retrans);
	e->fin_received = BPF_CORE_READ(sk, __sk_common.skc_flags) >> SOCK_DONE & 1;
	e->fin_acked = fin_sent && una == end;
	if (e->role != NV_UNKNOWN) {
		e->bytes_sent = BPF_CORE_READ(tp, bytes_acked);
		if (e->role == NV_CONNECTED && e->bytes_sent) /* our SYN */
			e->bytes_sent--;
		if (e->fin_acked && e->bytes_sent)
			e->bytes_sent--;
	} else { /* Was there a SYN of ours? What was sent tells, less what is on its way. */
		__u64 sent = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
		__u32 unacked = next - una;

		if (fin_sent && !e->fin_acked && next == end && unacked)
			unacked--; /* our FIN */
		e->bytes_sent = sent > unacked ? sent - unacked : 0;
	}
	if (e->fin_received && e->bytes_received)
		e->bytes_received--;
}
