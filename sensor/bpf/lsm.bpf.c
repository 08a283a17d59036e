//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The hook socket_connect of the LSM: what a process asks for, before the kernel
 * does anything about it. The program allows everything: it only watches. */
#define BY_BTF
#include "address.h"
#include "cookie.h"
#include "owner.h"
#include "socket.h"

SEC("lsm/socket_connect")
int BPF_PROG(socket_connect, struct socket *socket, struct sockaddr *address, int length, int ret)
{
	struct owner o = { .start = bpf_ktime_get_boot_ns() };
	struct sock *sk = socket->sk;
	struct nv_socket_event *e;
	struct address to = {};

	/* A call that goes on with an attempt, as after a signal, is not another. */
	if (socket->state != SS_UNCONNECTED)
		return ret;
	if (!sk || !is_inet(sk) || length < (int)(sizeof(to) - sizeof(to.v6)))
		return ret;
	bpf_probe_read_kernel(&to, sizeof(to) - sizeof(to.v6), address);
	if (to.family == AF_INET6 && length >= (int)sizeof(to))
		bpf_probe_read_kernel(&to, sizeof(to), address);
	else if (to.family != AF_INET) /* AF_UNSPEC ends a connection */
		return ret;
	o.cookie = cookie_of(sk);
	current_owner(&o);
	e = begin_event(NV_LSM_CONNECT);
	if (!e)
		return ret;
	copy_owner(e, &o);
	read_ends(e, sk);
	set_remote(e, &to);
	send_event(e);
	return ret;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
