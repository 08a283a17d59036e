/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A UDP socket that is connected counts as connecting when it sends its first
 * datagram there: resolvers connect without sending, to learn their own address. */
#pragma once

#include "cookie.h"
#include "owner.h"
#include "socket.h"

struct target {
	__u64 address[2];
	__u16 port;
	__u8 pad[6];
};

#ifndef BY_KPROBE
/* Where a socket has sent to last. It goes with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct target);
} targets SEC(".maps");

static __always_inline bool is_new_target(struct sock *sk, const struct target *to)
{
	struct target *last = bpf_sk_storage_get(&targets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!last || (last->port == to->port && last->address[0] == to->address[0] && last->address[1] == to->address[1]))
		return false;
	*last = *to;
	return true;
}
#else
/* A kprobe cannot use such a storage. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* inode: unlike the address, not soon another's */
	__type(value, struct target);
} targets_by_inode SEC(".maps");

static __always_inline bool is_new_target(struct sock *sk, const struct target *to)
{
	__u64 inode = BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
	struct target *last = bpf_map_lookup_elem(&targets_by_inode, &inode);

	if (last && last->port == to->port && last->address[0] == to->address[0] && last->address[1] == to->address[1])
		return false;
	bpf_map_update_elem(&targets_by_inode, &inode, to, BPF_ANY);
	return true;
}
#endif

static __always_inline void datagram_sent(struct sock *sk, int ret)
{
	struct owner o = { .start = bpf_ktime_get_boot_ns(), .role = NV_CONNECTED };
	struct nv_socket_event *e;
	struct target to = {};

	if (READ(sk, __sk_common.skc_state) != TCP_ESTABLISHED || !is_inet(sk)) /* of UDP: connected */
		return;
	to.port = READ(sk, __sk_common.skc_dport);
	if (READ(sk, __sk_common.skc_family) == AF_INET6)
		BPF_CORE_READ_INTO(&to.address, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	else
		to.address[0] = READ(sk, __sk_common.skc_daddr);
	if (!is_new_target(sk, &to))
		return;
	o.cookie = cookie_of(sk);
	current_owner(&o);
	e = begin_event(NV_CONNECT);
	if (!e)
		return;
	copy_owner(e, &o);
	read_ends(e, sk);
	e->error = ret < 0 ? -ret : 0;
	send_event(e);
}
