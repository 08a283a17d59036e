//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Packets between processes and DNS servers, over UDP and TCP, in every network
 * namespace, as the hooks of the root of all cgroups see them. The programs let
 * everything pass: they only watch. What is not DNS, which is nearly everything,
 * must cost as little as can be: the ports are looked at where they nearly always
 * are, and nothing else is done. */
#include "packet.h"

#define IPV4_HEADER 20

struct ports {
	__be16 source;
	__be16 destination;
};

/* may_be_dns also reports true for what only tell can find out. */
static __always_inline bool may_be_dns(struct __sk_buff *skb, bool sent)
{
	__u8 *packet = (__u8 *)(long)skb->data, *end = (__u8 *)(long)skb->data_end;
	struct ports *ports = (struct ports *)(packet + IPV4_HEADER);

	if ((__u8 *)(ports + 1) > end)
		return false;
	if (packet[0] == 0x45) /* IPv4, without options */
		return is_dns(ports->source, ports->destination, sent);
	if (packet[0] >> 4 != 6)
		return true;
	ports = (struct ports *)(packet + IPV6_HEADER);
	if ((__u8 *)(ports + 1) > end)
		return false;
	if (packet[6] == IPPROTO_TCP || packet[6] == IPPROTO_UDP)
		return is_dns(ports->source, ports->destination, sent);
	return is_extension(packet[6]);
}

/* has_server looks past what has become of the packet's address. */
static __always_inline bool has_server(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	return sk && is_connected(sk);
}

SEC("cgroup_skb/egress")
int packet_sent(struct __sk_buff *skb)
{
	if (may_be_dns(skb, true) || has_server(skb))
		tell(skb, true);
	return 1;
}

SEC("cgroup_skb/ingress")
int packet_received(struct __sk_buff *skb)
{
	if (may_be_dns(skb, false))
		tell(skb, false);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
