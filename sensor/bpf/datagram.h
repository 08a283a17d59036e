/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A UDP socket that is connected counts as connecting when it sends its first
 * datagram there: resolvers connect without sending, to learn their own address. */
#pragma once

#include "owner.h"
#include "socket.h"

struct target {
	__u64 address[2];
	__u16 port;
	__u8 pad[6];
};

/* Where a socket has sent to last. It goes with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct target);
} targets SEC(".maps");

static __always_inline void datagram_sent(struct sock *sk, int ret)
{
	struct owner o = { .start = bpf_ktime_get_boot_ns(), .role = NV_CONNECTED };
	struct nv_socket_event *e;
	struct target *last, to = {};

	if (sk->__sk_common.skc_state != TCP_ESTABLISHED || !is_inet(sk)) /* of UDP: connected */
		return;
	to.port = sk->__sk_common.skc_dport;
	if (sk->__sk_common.skc_family == AF_INET6)
		BPF_CORE_READ_INTO(&to.address, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	else
		to.address[0] = sk->__sk_common.skc_daddr;
	last = bpf_sk_storage_get(&targets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!last || (last->port == to.port && last->address[0] == to.address[0] && last->address[1] == to.address[1]))
		return;
	*last = to;
	o.cookie = bpf_get_socket_cookie(sk);
	current_owner(&o);
	e = begin_event(NV_CONNECT);
	if (!e)
		return;
	copy_owner(e, &o);
	read_ends(e, sk);
	e->error = ret < 0 ? -ret : 0;
	send_event(e);
}
