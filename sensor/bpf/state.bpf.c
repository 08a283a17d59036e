//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A TCP socket changes its state. tp_btf rather than kprobes, which some kernels
 * lack; rather than the tracepoint's own record, which has no socket fields. */
#define BY_BTF
#include "attempt.h"
#include "cookie.h"
#include "owner.h"
#include "socket.h"

static __always_inline void connect_result(struct sock *sk, struct owner *o, int from, __u32 error)
{
	struct nv_socket_event *e = begin_event(NV_CONNECT);

	if (!e)
		return;
	copy_owner(e, o);
	if (!e->cookie)
		e->cookie = cookie_of(sk);
	read_ends(e, sk);
	e->error = error;
	e->old_state = from;
	send_event(e);
}

static __always_inline void closed(struct sock *sk, const struct owner *o, int from)
{
	struct nv_socket_event *e = begin_event(NV_CLOSE);

	if (!e)
		return;
	if (o)
		copy_owner(e, o);
	if (!e->cookie)
		e->cookie = cookie_of(sk);
	read_ends(e, sk);
	read_counters(e, sk, from);
	e->error = READ(sk, sk_err);
	e->old_state = from;
	e->half_closed = o && o->half_closed && !e->fin_received;
	send_event(e);
}

static __always_inline void listening(struct sock *sk)
{
	struct owner o = { .cookie = cookie_of(sk) };
	struct nv_socket_event *e = begin_event(NV_LISTEN);

	if (!e)
		return;
	current_owner(&o);
	copy_owner(e, &o);
	read_ends(e, sk);
	e->backlog = READ(sk, sk_max_ack_backlog);
	send_event(e);
}

static __always_inline void established(struct sock *sk, int from)
{
	struct owner *o = owner_of(sk);

	if (!o && from != TCP_SYN_RECV) /* the map had no room for it */
		return;
	if (!o) { /* a connection for a listener: who accepts it comes later */
		struct owner inbound = { .start = bpf_ktime_get_boot_ns(), .cookie = cookie_of(sk), .role = NV_ACCEPTED, .established = 1 };

		remember(sk, &inbound);
		return;
	}
	if (o->established)
		return;
	o->established = 1;
	connect_result(sk, o, 0, 0);
}

/* Our side has closed, and the peer knows. close(2) shuts down both directions. */
static __always_inline void half_closed(struct sock *sk)
{
	struct owner *o;

	if (READ(sk, sk_shutdown) != SEND_SHUTDOWN)
		return;
	o = owner_of(sk);
	if (o)
		o->half_closed = 1;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_changed, struct sock *sk, int from, int to)
{
	if (!is_tcp(sk))
		return 0;
	if (to == TCP_SYN_SENT && from == TCP_CLOSE) {
		struct owner o = { .start = bpf_ktime_get_boot_ns(), .cookie = cookie_of(sk), .role = NV_CONNECTED };

		current_owner(&o);
		remember(sk, &o);
		attempt_begun();
	} else if (to == TCP_LISTEN && from == TCP_CLOSE) {
		listening(sk);
	} else if (to == TCP_ESTABLISHED) {
		established(sk, from);
	} else if (to == TCP_FIN_WAIT2) {
		half_closed(sk);
	} else if (to == TCP_CLOSE && from != TCP_CLOSE && from != TCP_LISTEN) {
		struct owner *o = owner_of(sk);

		if (o && o->role == NV_CONNECTED && !o->established)
			connect_result(sk, o, from, READ(sk, sk_err));
		else if (from != TCP_SYN_SENT && from != TCP_SYN_RECV)
			closed(sk, o, from);
		forget(sk);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
