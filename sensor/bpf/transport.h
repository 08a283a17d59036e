/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The way to the transport header, past the options of IPv4 and the extension
 * headers of IPv6. A fragment has none: the programs see a packet before it is
 * split and after it is put together. */
#pragma once

#include "kernel.h"
#include "skb.h"

/* include/uapi/linux/in6.h */
enum {
	HOP_BY_HOP_OPTIONS = 0,
	ROUTING_HEADER = 43,
	AUTHENTICATION_HEADER = 51,
	DESTINATION_OPTIONS = 60,
};

/* As many as RFC 8200, section 4.1, has in one packet, and one to spare. */
#define MOST_EXTENSIONS 6

#define IPV6_HEADER 40

struct transport {
	__u32 offset; /* of its header, in the packet */
	__u16 family;
	__u8 protocol;
	__u8 pad;
};

static __always_inline bool is_extension(__u8 header)
{
	return header == HOP_BY_HOP_OPTIONS || header == ROUTING_HEADER || header == AUTHENTICATION_HEADER || header == DESTINATION_OPTIONS;
}

/* find_transport reports whether the way is short enough to be followed. */
static __always_inline bool find_transport(struct __sk_buff *skb, struct transport *t)
{
	__u8 first = 0, extension[2] = {};
	int i;

	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return false;
	if (first >> 4 == 4) {
		t->family = AF_INET;
		t->offset = (first & 15) * 4;
		return !bpf_skb_load_bytes(skb, 9, &t->protocol, 1);
	}
	t->family = AF_INET6;
	t->offset = IPV6_HEADER;
	if (bpf_skb_load_bytes(skb, 6, &t->protocol, 1))
		return false;
	for (i = 0; i < MOST_EXTENSIONS && is_extension(t->protocol); i++) {
		if (bpf_skb_load_bytes(skb, t->offset, extension, sizeof(extension)))
			return false;
		t->offset += t->protocol == AUTHENTICATION_HEADER ? (extension[1] + 2) * 4 : (extension[1] + 1) * 8;
		t->protocol = extension[0];
	}
	return !is_extension(t->protocol);
}
