/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The way out: a ring buffer, and counters of what found no room. */
#pragma once

#include "kernel.h"
#include "wire.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NV_LOSSES);
	__uint(map_flags, BPF_F_MMAPABLE); /* the sensor reads it when it has no right to bpf(2) any more */
	__type(key, enum nv_loss);
	__type(value, __u64);
} losses SEC(".maps");

static __always_inline void lose(enum nv_loss cause)
{
	__u64 *n = bpf_map_lookup_elem(&losses, &cause);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* A wakeup for each event costs more than the program: the reader looks by
 * itself often enough, but for a ring that fills. */
#define WAKE_AT (64 << 10)

static __always_inline struct nv_socket_event *begin_event(enum nv_type type)
{
	struct nv_socket_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		lose(NV_LOST_RING_FULL);
		return NULL;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->type = type;
	e->time = bpf_ktime_get_boot_ns();
	return e;
}

static __always_inline void send_event(struct nv_socket_event *e)
{
	__u64 waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);

	bpf_ringbuf_submit(e, waiting >= WAKE_AT ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}
