/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A connect(2) that is under way, by thread: an attempt that fails before the
 * socket changes its state, such as one without a route, is seen by its end only. */
#pragma once

#include "kernel.h"

struct attempt {
	__u64 start; /* ns on the boot clock */
	__u32 fd;
	__u16 family;
	__u16 port;
	__u8 address[16];
	__u8 begun; /* the socket has changed its state: that tells the rest */
	__u8 pad[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); /* a thread may be killed in its call */
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct attempt);
} attempts SEC(".maps");

static __always_inline void attempt_begun(void)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct attempt *a = bpf_map_lookup_elem(&attempts, &thread);

	if (a)
		a->begun = 1;
}
