/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The number of a socket (SO_COOKIE), which ties together what is told of it. */
#pragma once

#include "kernel.h"

/* include/uapi/linux/bpf.h: a kernel that has the last lets a tracing program ask
 * for the cookie of a socket, as does every one from 5.12 on. */
enum bpf_func_id {
	BPF_FUNC_check_mtu = 163,
};

/* cookie_of a socket. Who cannot ask for it, as a kprobe, reads it: then it is 0
 * where nobody has asked before, such as cookie.bpf.c. */
static __always_inline __u64 cookie_of(struct sock *sk)
{
#ifdef BY_BTF
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_check_mtu))
		return bpf_get_socket_cookie(sk);
#endif
	return READ(sk, __sk_common.skc_cookie.counter);
}
