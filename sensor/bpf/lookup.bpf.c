//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* getaddrinfo(3) of a libc: what was asked for, and what was answered. The
 * strings are read at the end: by then the libc has read them itself, so that they
 * are in memory, from where alone a program can read. */
#include "emit.h"
#include "kprobe.h"

/* Into the BTF of the object, as is nv_socket_event. */
const struct nv_lookup *described_lookup __attribute__((unused));

/* A call is known by its thread and by where its stack began: calls may nest, as
 * where a module of nsswitch.conf(5) asks for the address of its server, and one
 * that is left by longjmp(3) never ends. */
struct call_key {
	__u64 thread;
	__u64 stack;
};

struct call {
	__u64 start; /* ns on the boot clock */
	__u64 function;
	__u64 library;
	__u64 twin;
	__u64 node; /* pointers of the process */
	__u64 service;
	__u64 list;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); /* a thread may be killed in its call, or leave it */
	__uint(max_entries, 16384);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

/* netdb.h of glibc and of musl, on 64 bits. */
struct addrinfo {
	__s32 flags;
	__s32 family;
	__s32 socktype;
	__s32 protocol;
	__u32 address_length;
	__u32 pad;
	__u64 address;
	__u64 name;
	__u64 next;
};

/* struct sockaddr_in and sockaddr_in6 */
struct socket_address {
	__u16 family;
	__u16 port;
	__u8 v4[4]; /* of IPv6 the flow label */
	__u8 v6[16];
};

/* How long the list may be: an address is in it once for each type of socket. */
#define MOST_ENTRIES 64
#define MOST_ADDRESSES (sizeof(((struct nv_lookup *)0)->addresses) / sizeof(struct nv_lookup_address))

/* How long it takes from one program of a function to the next, at most: a thread may
 * lose its CPU between them. */
#define TWIN_NS 20000000

enum bpf_func_id {
	BPF_FUNC_get_attach_cookie = 174,
};

static __always_inline __u64 library_of(struct pt_regs *registers)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_attach_cookie))
		return bpf_get_attach_cookie(registers);
	return 0;
}

SEC("uprobe/getaddrinfo")
int getaddrinfo_began(struct pt_regs *registers)
{
	struct call_key key = { .thread = bpf_get_current_pid_tgid(), .stack = STACK_CALLED(registers) };
	struct call c = {
		.start = bpf_ktime_get_boot_ns(),
		.function = INSTRUCTION(registers),
		.library = library_of(registers),
		.node = ARGUMENT1(registers),
		.service = ARGUMENT2(registers),
		.list = ARGUMENT4(registers),
	};
	struct call *known = bpf_map_lookup_elem(&calls, &key);

	/* The same call, told of once more: two files are one inode, as those of two
	 * overlays of an image, and both have been given programs. */
	if (known && known->function == c.function && known->library != c.library && c.start - known->start < TWIN_NS) {
		known->twin = c.library;
		return 0;
	}
	bpf_map_update_elem(&calls, &key, &c, BPF_ANY);
	return 0;
}

/* Of an empty string older kernels say that it has 0 bytes, newer ones 1. */
#define read_text(l, text, from)                                                              \
	do {                                                                                  \
		long n = (from) ? bpf_probe_read_user_str((l)->text, sizeof((l)->text), (void *)(from)) : 0; \
		(l)->text##_length = n > 0 ? n - 1 : 0;                                       \
		(l)->text##_state = !(from) ? NV_TEXT_NULL : n >= 0 ? NV_TEXT_READ : NV_TEXT_UNREAD; \
	} while (0)

/* read_address returns whether there is one, of a family that is told. */
static __always_inline bool read_address(struct nv_lookup_address *a, const struct addrinfo *info)
{
	struct socket_address from = {};

	__builtin_memset(a, 0, sizeof(*a));
	a->family = info->family;
	if (info->family == AF_INET && !bpf_probe_read_user(&from, sizeof(from) - sizeof(from.v6), (void *)info->address))
		__builtin_memcpy(a->address, from.v4, sizeof(from.v4));
	else if (info->family == AF_INET6 && !bpf_probe_read_user(&from, sizeof(from), (void *)info->address))
		__builtin_memcpy(a->address, from.v6, sizeof(from.v6));
	else
		return false;
	return true;
}

static __always_inline bool same(const struct nv_lookup_address *a, const struct nv_lookup_address *b)
{
	const __u32 *one = (const __u32 *)a, *other = (const __u32 *)b;

	return one[0] == other[0] && one[1] == other[1] && one[2] == other[2] && one[3] == other[3] && one[4] == other[4];
}

static __always_inline void read_addresses(struct nv_lookup *l, __u64 entry)
{
	/* What is in memory is the same to the verifier in every turn: a counter in a
	 * register would have it follow every way through every turn. */
	volatile __u8 *count = &l->count;
	struct nv_lookup_address last = {}, next;
	struct addrinfo info;
	__u32 n;

	for (int i = 0; i < MOST_ENTRIES && entry; i++) {
		if (bpf_probe_read_user(&info, sizeof(info), (void *)entry)) {
			l->unread = 1;
			return;
		}
		entry = info.next;
		if (!read_address(&next, &info)) {
			l->unread = 1;
			continue;
		}
		if (same(&last, &next)) /* for another type of socket */
			continue;
		n = *count;
		if (n >= MOST_ADDRESSES) {
			l->more = 1;
			return;
		}
		last = next;
		l->addresses[n] = next;
		*count = n + 1;
	}
	l->more = entry != 0;
}

static __always_inline int ended(struct pt_regs *registers, __u64 stack)
{
	struct call_key key = { .thread = bpf_get_current_pid_tgid(), .stack = stack };
	struct call *c = bpf_map_lookup_elem(&calls, &key);
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct nv_lookup *l;
	__u64 list = 0;

	if (!c) /* a twin has told it; or it is that of a process which was forked in the call */
		return 0;
	l = bpf_ringbuf_reserve(&events, sizeof(*l), 0);
	if (!l) {
		lose(NV_LOST_RING_FULL);
		goto done;
	}
	__builtin_memset(l, 0, __builtin_offsetof(struct nv_lookup, node)); /* what is behind has its lengths */
	l->type = NV_LOOKUP;
	l->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	l->time = bpf_ktime_get_boot_ns();
	l->start = c->start;
	l->library = c->library;
	l->twin = c->twin;
	l->tgid = key.thread >> 32;
	l->uid = bpf_get_current_uid_gid();
	l->result = RESULT(registers);
	/* The name of the process: that of the thread is often another. */
	BPF_CORE_READ_INTO(&l->comm, task, group_leader, comm);
	read_text(l, node, c->node);
	read_text(l, service, c->service);
	if (!l->result) {
		if (bpf_probe_read_user(&list, sizeof(list), (void *)c->list))
			l->unread = 1;
		else
			read_addresses(l, list);
	}
	if (l->unread || l->node_state == NV_TEXT_UNREAD || l->service_state == NV_TEXT_UNREAD)
		lose(NV_LOST_LOOKUP_UNREAD);
	submit(l, sizeof(*l), is_new(l->tgid, l->comm));
done:
	bpf_map_delete_elem(&calls, &key);
	return 0;
}

/* At the instruction by which the function returns. */
SEC("uprobe/getaddrinfo")
int getaddrinfo_returns(struct pt_regs *registers)
{
	return ended(registers, STACK_CALLED(registers));
}

/* After it, where that instruction could not be found. */
SEC("uretprobe/getaddrinfo")
int getaddrinfo_returned(struct pt_regs *registers)
{
	return ended(registers, STACK_RETURNED(registers));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
