/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whose a socket is. Only at connect and accept is the current process the one
 * that the socket belongs to: it may close under a stranger, or in a softirq. */
#pragma once

#include "emit.h"

struct owner {
	__u64 start; /* ns on the boot clock */
	__u64 cookie;
	__u32 tgid;
	__u32 uid;
	enum nv_role role;
	__u8 established;
	__u8 half_closed; /* by shutdown(2) of ours, answered by the peer's ACK */
	__u8 pad[2];
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64); /* struct sock * */
	__type(value, struct owner);
} owners SEC(".maps");

static __always_inline void current_owner(struct owner *o)
{
	o->tgid = bpf_get_current_pid_tgid() >> 32;
	o->uid = bpf_get_current_uid_gid();
	/* The name of the process: that of the thread is often another. */
	BPF_CORE_READ_INTO(&o->comm, (struct task_struct *)bpf_get_current_task(), group_leader, comm);
}

static __always_inline void remember(struct sock *sk, struct owner *o)
{
	__u64 key = (__u64)sk;

	if (bpf_map_update_elem(&owners, &key, o, BPF_ANY))
		lose(NV_LOST_OWNERS_FULL);
}

static __always_inline struct owner *owner_of(struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&owners, &key);
}

static __always_inline void forget(struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&owners, &key);
}

static __always_inline void copy_owner(struct nv_socket_event *e, const struct owner *o)
{
	e->start = o->start;
	e->cookie = o->cookie;
	e->tgid = o->tgid;
	e->uid = o->uid;
	e->role = o->role;
	__builtin_memcpy(e->comm, o->comm, sizeof(e->comm));
}
