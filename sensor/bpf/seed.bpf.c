//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whose the sockets are that are older than the sensor: it reads this iterator
 * once. All network namespaces are in it, as they are not in iter/tcp. */
#include "file.h"
#include "owner.h"
#include "socket.h"

struct bpf_iter__task_file {
	__u64 meta;
	struct task_struct *task;
	__u32 fd;
	__u32 pad;
	struct file *file;
};

SEC("iter/task_file")
int seed(struct bpf_iter__task_file *ctx)
{
	struct owner o = { .role = NV_UNKNOWN, .established = 1 };
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;
	__u8 state;
	__u64 key;

	if (!task || !file)
		return 0;
	socket = socket_of_file(file);
	if (!socket)
		return 0;
	sk = BPF_CORE_READ(socket, sk);
	if (!sk || !is_tcp(sk))
		return 0;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_CLOSE || state == TCP_LISTEN)
		return 0;
	if (state == TCP_SYN_SENT) {
		o.role = NV_CONNECTED;
		o.established = 0;
	}
	o.tgid = BPF_CORE_READ(task, tgid);
	o.uid = BPF_CORE_READ(task, cred, uid.val);
	BPF_CORE_READ_INTO(&o.comm, task, group_leader, comm);
	key = (__u64)sk;
	/* Of several processes that share it, the first; and one that has connected
	 * or was accepted meanwhile is known better. */
	if (bpf_map_update_elem(&owners, &key, &o, BPF_NOEXIST) && !bpf_map_lookup_elem(&owners, &key))
		lose(NV_LOST_OWNERS_FULL);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
