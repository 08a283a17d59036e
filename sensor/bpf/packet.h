/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Telling a packet of DNS, by the client's socket only: its query when that is
 * sent, the answer when it is received. So a packet that several interfaces and
 * namespaces see is told once, and what a server has to do with it never. */
#pragma once

#include "emit.h"
#include "transport.h"

/* Into the BTF of the object: of these the Go types are made. */
const struct nv_packet *packet_described __attribute__((unused));
const enum nv_room *room_described __attribute__((unused));

#define DNS 53
#define MDNS 5353

/* include/linux/net.h */
enum {
	SOCK_STREAM = 1,
	SOCK_DGRAM = 2,
};

/* include/linux/sched.h */
#define PF_KTHREAD 0x00200000

#define UDP_HEADER 8

/* include/uapi/linux/tcp.h */
struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledged;
	__u8 words; /* of 4 bytes, in its upper half: the length of this header */
	__u8 flags;
	__u8 pad[2];
};

#define TCP_SYN 2

/* is_dns reports whether the ports are those of a client's packet. Answers of mDNS
 * come from its port, or at least to it. */
static __always_inline bool is_dns(__be16 source, __be16 destination, bool sent)
{
	if (sent)
		return destination == bpf_htons(DNS) || destination == bpf_htons(MDNS);
	return source == bpf_htons(DNS) || source == bpf_htons(MDNS) || destination == bpf_htons(MDNS);
}

/* is_connected to a server of DNS. Where the network of the host or of a container
 * translates addresses (iptables, nftables: 127.0.0.11 of Docker, services of
 * Kubernetes) the packet goes elsewhere, but the answer comes from that server. */
static __always_inline bool is_connected(struct bpf_sock *sk)
{
	return sk->dst_port == bpf_htons(DNS) || sk->dst_port == bpf_htons(MDNS);
}

/* is_own: a raw socket gets packets that are another's. */
static __always_inline bool is_own(struct bpf_sock *sk)
{
	return (sk->type == SOCK_DGRAM && sk->protocol == IPPROTO_UDP) || (sk->type == SOCK_STREAM && sk->protocol == IPPROTO_TCP);
}

/* read_sender: a datagram leaves in the call of the process that sends it. That of
 * TCP may leave whenever the peer, or time, allows it. What a thread of the kernel
 * sends is nobody's; but for what a queue of netfilter held up (NFQUEUE), the
 * process that let it go is taken for the sender. */
static __always_inline void read_sender(struct nv_packet *p)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return;
	p->tgid = BPF_CORE_READ(task, tgid);
	p->uid = BPF_CORE_READ(task, cred, uid.val);
	BPF_CORE_READ_INTO(&p->comm, task, group_leader, comm);
}

static __always_inline bool read_addresses(struct __sk_buff *skb, const struct transport *t, struct nv_packet *p)
{
	void *source = p->sent ? p->local : p->remote, *destination = p->sent ? p->remote : p->local;

	if (t->family == AF_INET)
		return !bpf_skb_load_bytes(skb, 12, source, 4) && !bpf_skb_load_bytes(skb, 16, destination, 4);
	return !bpf_skb_load_bytes(skb, 8, source, 16) && !bpf_skb_load_bytes(skb, 24, destination, 16);
}

static __always_inline void read_server(struct bpf_sock *sk, struct nv_packet *p, __u16 family)
{
	__u32 *remote = (__u32 *)p->remote;

	if (family == AF_INET) {
		remote[0] = sk->dst_ip4;
		return;
	}
	remote[0] = sk->dst_ip6[0];
	remote[1] = sk->dst_ip6[1];
	remote[2] = sk->dst_ip6[2];
	remote[3] = sk->dst_ip6[3];
}

/* tell_with a record of so much room, which is a power of two. */
static __always_inline void tell_with(enum nv_room room, struct __sk_buff *skb, __u32 payload, const struct nv_packet *packet)
{
	struct nv_packet *p = bpf_ringbuf_reserve(&events, sizeof(*p) + room, 0);
	__u32 last = packet->kept - 1;

	if (!p) {
		lose(NV_LOST_RING_FULL);
		return;
	}
	__builtin_memcpy(p, packet, sizeof(*p));
	asm volatile("" : "+r"(last)); /* clang knows its bounds, the kernel does not */
	last &= room - 1;
	if (bpf_skb_load_bytes(skb, payload, p + 1, last + 1)) {
		bpf_ringbuf_discard(p, BPF_RB_NO_WAKEUP);
		lose(NV_LOST_PACKET_UNREAD);
		return;
	}
	submit(p, sizeof(*p) + room, is_new(p->tgid, p->comm));
}

/* tell a packet, if it is one of DNS. A function of its own: registers that it needs
 * are not saved for all the packets that are none. */
static __noinline int tell(struct __sk_buff *skb, bool sent)
{
	struct nv_packet p = { .type = NV_PACKET, .sent = sent };
	struct bpf_sock *sk = skb->sk;
	struct transport t = {};
	struct tcp_header h = {};
	bool connected;
	__u32 payload;
	__u8 flags = 0;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !is_own(sk))
		return 0;
	p.protocol = sk->protocol;
	if (!find_transport(skb, &t) || t.protocol != p.protocol) {
		lose(NV_LOST_PACKET_UNREAD);
		return 0;
	}
	if (bpf_skb_load_bytes(skb, t.offset, &h, p.protocol == IPPROTO_TCP ? sizeof(h) - sizeof(h.pad) : 4))
		return 0;
	connected = sent && is_connected(sk);
	if (connected)
		h.destination = sk->dst_port;
	if (p.protocol == IPPROTO_TCP) {
		if (h.source != bpf_htons(DNS) && h.destination != bpf_htons(DNS)) /* there is no mDNS by TCP */
			return 0;
		payload = t.offset + (h.words >> 4) * 4;
		p.sequence = bpf_ntohl(h.sequence) + (h.flags & TCP_SYN ? 1 : 0); /* Fast Open: the SYN comes first */
	} else {
		payload = t.offset + UDP_HEADER;
	}
	if (!is_dns(h.source, h.destination, sent) || skb->len <= payload)
		return 0;
	p.length = skb->len - payload;
	if (p.protocol == IPPROTO_UDP) {
		/* A query is sent, an answer received: a server that asks from its own port,
		 * and all that have mDNS, do both from one port to one port. */
		if (p.length > 2 && !bpf_skb_load_bytes(skb, payload + 2, &flags, 1) && flags >> 7 == sent)
			return 0;
		/* Several datagrams in one: nobody is known to do DNS so. */
		if (skb->gso_size && skb->gso_size < p.length) {
			lose(NV_LOST_PACKET_UNREAD);
			p.length = skb->gso_size;
		}
		if (sent)
			read_sender(&p);
	}
	if (!read_addresses(skb, &t, &p))
		return 0;
	if (connected)
		read_server(sk, &p, t.family);
	p.time = bpf_ktime_get_boot_ns();
	p.cookie = bpf_get_socket_cookie(skb);
	p.netns = BPF_CORE_READ((struct sk_buff *)skb, sk, __sk_common.skc_net.net, ns.inum);
	p.family = t.family;
	p.local_port = bpf_ntohs(sent ? h.source : h.destination);
	p.remote_port = bpf_ntohs(sent ? h.destination : h.source);
	p.kept = p.length < NV_ROOM_LONGEST ? p.length : NV_ROOM_LONGEST;
	if (p.kept <= NV_ROOM_QUERY)
		tell_with(NV_ROOM_QUERY, skb, payload, &p);
	else if (p.kept <= NV_ROOM_ANSWER)
		tell_with(NV_ROOM_ANSWER, skb, payload, &p);
	else if (p.kept <= NV_ROOM_LONG)
		tell_with(NV_ROOM_LONG, skb, payload, &p);
	else
		tell_with(NV_ROOM_LONGEST, skb, payload, &p);
	return 0;
}
