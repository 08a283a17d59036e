//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A process runs a program in a root or mount namespace where none has run before,
 * as the first of a container does: it may bring a libc of its own. Every other
 * exec costs two look-ups, and tells nothing. */
#include "emit.h"

/* Into the BTF of the object, as is nv_socket_event. */
const struct nv_exec *described_exec __attribute__((unused));

struct root {
	__u32 mounts; /* inode of the mount namespace */
	__u32 device;
	__u64 inode;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct root);
	__type(value, __u32); /* the generation in which it was told */
} roots SEC(".maps");

/* The sensor begins a new generation when it lets go of a libc: a root that it has
 * looked at may need it again. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE); /* as that of losses */
	__type(key, __u32);
	__type(value, __u32);
} generation SEC(".maps");

SEC("tp_btf/sched_process_exec")
int BPF_PROG(executed, struct task_struct *task)
{
	struct inode *inode = BPF_CORE_READ(task, fs, root.dentry, d_inode);
	struct root r = {
		.mounts = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum),
		.device = BPF_CORE_READ(inode, i_sb, s_dev),
		.inode = BPF_CORE_READ(inode, i_ino),
	};
	__u32 zero = 0, *now = bpf_map_lookup_elem(&generation, &zero), *told = bpf_map_lookup_elem(&roots, &r);
	struct nv_exec *e;

	if (!now || (told && *told == *now))
		return 0;
	bpf_map_update_elem(&roots, &r, now, BPF_ANY);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		lose(NV_LOST_RING_FULL);
		return 0;
	}
	e->type = NV_EXEC;
	e->tgid = BPF_CORE_READ(task, tgid);
	submit(e, sizeof(*e), true);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
