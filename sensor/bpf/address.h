/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The address that a process asks to connect to: the part of struct sockaddr_in
 * and sockaddr_in6 that says where. */
#pragma once

#include "kernel.h"
#include "wire.h"

struct address {
	__u16 family;
	__be16 port;
	__u8 v4[4]; /* of IPv6 the flow label */
	__u8 v6[16];
};

static __always_inline void set_remote(struct nv_socket_event *e, const struct address *to)
{
	e->family = to->family;
	e->remote_port = bpf_ntohs(to->port);
	__builtin_memset(e->remote, 0, sizeof(e->remote));
	if (to->family == AF_INET6)
		__builtin_memcpy(e->remote, to->v6, sizeof(to->v6));
	else
		__builtin_memcpy(e->remote, to->v4, sizeof(to->v4));
}
