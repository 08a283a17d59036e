/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A connect that is under way, by thread: an attempt that fails before the
 * socket changes its state, such as one without a route, is seen by its end only. */
#pragma once

#include "address.h"
#include "owner.h"
#include "socket.h"

struct attempt {
	__u64 start; /* ns on the boot clock */
	__u64 sock;
	struct address to;
	__u8 begun; /* the socket has changed its state: that tells the rest */
	__u8 pad[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); /* a thread may be killed in its call */
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct attempt);
} attempts SEC(".maps");

/* attempt_begins is told of a connect before the kernel does anything for it. */
static __always_inline void attempt_begins(struct socket *socket, const struct address *to)
{
	struct attempt a = { .start = bpf_ktime_get_boot_ns(), .to = *to };
	__u64 thread = bpf_get_current_pid_tgid();
	struct sock *sk;

	/* One that goes on with an attempt that is under way is not another. */
	if (READ(socket, state) != SS_UNCONNECTED)
		return;
	sk = READ(socket, sk);
	if (!sk || !is_tcp(sk) || (to->family != AF_INET && to->family != AF_INET6))
		return;
	a.sock = (__u64)sk;
	bpf_map_update_elem(&attempts, &thread, &a, BPF_ANY);
}

/* attempt_begun: the socket's state tells the rest. */
static __always_inline void attempt_begun(void)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct attempt *a = bpf_map_lookup_elem(&attempts, &thread);

	if (a)
		a->begun = 1;
}

static __always_inline void attempt_ended(__s64 ret)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct attempt *a = bpf_map_lookup_elem(&attempts, &thread);
	struct nv_socket_event *e;
	struct sock *sk;

	if (!a)
		return;
	if (ret >= 0 || ret == -EINPROGRESS) { /* as most do: the next call of the thread takes its place */
		a->begun = 1;
		return;
	}
	sk = (struct sock *)a->sock;
	if (!a->begun) {
		struct owner o = { .start = a->start, .role = NV_CONNECTED };

		current_owner(&o);
		e = begin_event(NV_CONNECT);
		if (e) {
			copy_owner(e, &o);
			read_ends(e, sk);
			e->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter); /* 0 where nobody has asked for it */
			set_remote(e, &a->to); /* after a failure the socket has no peer */
			e->error = -ret;
			e->old_state = TCP_CLOSE;
			send_event(e);
		}
	}
	bpf_map_delete_elem(&attempts, &thread);
}
