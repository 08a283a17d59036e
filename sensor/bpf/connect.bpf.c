//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* connect(2) calls that fail before the socket changes its state: no route, no
 * right, no free port. All others are told by state.bpf.c. */
#include "attempt.h"
#include "file.h"
#include "owner.h"
#include "socket.h"
#include "syscall.h"

struct address {
	__u16 family;
	__be16 port;
	__u8 v4[4]; /* of IPv6 the flow label */
	__u8 v6[16];
};

SEC("tracepoint/syscalls/sys_enter_connect")
int connect_began(struct sys_enter *call)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct attempt a = { .start = bpf_ktime_get_boot_ns(), .fd = call->args[0] };
	struct socket *socket = socket_of_fd(a.fd);
	struct address address = {};
	struct sock *sk;

	/* One that goes on with an attempt that is under way is not another. */
	if (!socket || BPF_CORE_READ(socket, state) != SS_UNCONNECTED)
		return 0;
	sk = BPF_CORE_READ(socket, sk);
	if (!sk || !is_tcp(sk))
		return 0;
	bpf_probe_read_user(&address, sizeof(address) - sizeof(address.v6), (void *)call->args[1]);
	a.family = address.family;
	a.port = bpf_ntohs(address.port);
	if (a.family == AF_INET6)
		bpf_probe_read_user(a.address, sizeof(a.address), (void *)(call->args[1] + __builtin_offsetof(struct address, v6)));
	else if (a.family == AF_INET)
		__builtin_memcpy(a.address, address.v4, sizeof(address.v4));
	else
		return 0;
	bpf_map_update_elem(&attempts, &thread, &a, BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_connect")
int connect_ended(struct sys_exit *call)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct attempt *a = bpf_map_lookup_elem(&attempts, &thread);
	struct nv_socket_event *e;
	struct socket *socket;

	if (!a)
		return 0;
	if (!a->begun && call->ret < 0 && call->ret != -EINPROGRESS) {
		struct owner o = { .start = a->start, .role = NV_CONNECTED };

		socket = socket_of_fd(a->fd);
		current_owner(&o);
		e = begin_event(NV_CONNECT);
		if (e) {
			copy_owner(e, &o);
			if (socket) {
				struct sock *sk = BPF_CORE_READ(socket, sk);

				if (sk) {
					read_ends(e, sk);
					e->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
				}
			}
			/* After a failure the socket has no peer. */
			e->family = a->family;
			e->remote_port = a->port;
			__builtin_memcpy(e->remote, a->address, sizeof(e->remote));
			e->error = -call->ret;
			e->old_state = TCP_CLOSE;
			send_event(e);
		}
	}
	bpf_map_delete_elem(&attempts, &thread);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
