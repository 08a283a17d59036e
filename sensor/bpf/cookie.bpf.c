//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every new socket gets its cookie, for programs that can only read it: when a
 * process makes it, and when a connection for a listener is established. The
 * programs allow everything, and leave everything as it is. */
#include "kernel.h"

/* include/uapi/linux/bpf.h */
#define BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB 5

struct bpf_sock_ops {
	__u32 op;
};

SEC("cgroup/sock_create")
int socket_made(void *sk)
{
	bpf_get_socket_cookie(sk);
	return 1;
}

SEC("sockops")
int connection_made(struct bpf_sock_ops *now)
{
	if (now->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		bpf_get_socket_cookie(now);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
