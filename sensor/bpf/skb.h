/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A packet as programs of cgroup_skb are given it, which is from its network
 * header on: include/uapi/linux/bpf.h */
#pragma once

#include "types.h"

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 skipped[8];
	__be16 dst_port;
	__u16 pad;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
};

struct __sk_buff {
	__u32 len;
	__u32 skipped[18];
	__u32 data;
	__u32 data_end;
	__u32 skipped_too[21];
	struct bpf_sock *sk;
	__u32 gso_size;
	__u32 pad;
};
