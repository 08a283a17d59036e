/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The way out: a ring buffer, and counters of what found no room. */
#pragma once

#include "kernel.h"
#include "wire.h"

/* Into the BTF of every object with it: of that the Go struct is made. */
const struct nv_socket_event *described __attribute__((unused));

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
 * itself often enough, but for a ring that fills, and for a process that is met
 * for the first time, which may end before it has been looked at. */
#define WAKE_AT (64 << 10)

/* Before each record: BPF_RINGBUF_HDR_SZ of include/uapi/linux/bpf.h */
#define RECORD_HEADER 8

struct met {
	__u32 tgid;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct met);
	__type(value, __u8);
} processes SEC(".maps");

static __always_inline bool is_new(__u32 tgid, const char comm[16])
{
	struct met m = { .tgid = tgid };
	__u8 known = 1;

	if (!tgid)
		return false;
	__builtin_memcpy(m.comm, comm, sizeof(m.comm));
	if (bpf_map_lookup_elem(&processes, &m)) /* many times cheaper than an update in vain */
		return false;
	return !bpf_map_update_elem(&processes, &m, &known, BPF_NOEXIST);
}

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

/* submit a record of a size. It wakes the reader once for each WAKE_AT: one that is
 * behind is awake, and a wakeup in vain costs as much as any. */
static __always_inline void submit(void *record, __u32 size, bool wake)
{
	wake = wake || bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) % WAKE_AT < RECORD_HEADER + size;
	bpf_ringbuf_submit(record, wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

static __always_inline void send_event(struct nv_socket_event *e)
{
	submit(e, sizeof(*e), e->type != NV_CLOSE /* it was met when it connected */ && is_new(e->tgid, e->comm));
}
