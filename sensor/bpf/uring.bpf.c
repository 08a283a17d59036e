//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A connection that is accepted by io_uring, where the kernel has no hook that
 * sees every accept. The request is done by a thread of the process. */
#include "accept.h"
#include "file.h"

#define IORING_OP_ACCEPT 13

/* The last argument is such since 6.14; before, the result of a request that goes
 * on (multishot) cannot be had here. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(uring_completed, void *ring, struct io_kiocb *request, struct io_uring_cqe *result)
{
	struct socket *socket;
	struct owner *known;
	struct sock *sk;
	__s32 fd;

	/* One that goes on completes without its request: whatever it is, the number
	 * is looked up among the descriptors of the process. */
	if (request && BPF_CORE_READ(request, opcode) != IORING_OP_ACCEPT)
		return 0;
	fd = request ? BPF_CORE_READ(request, cqe.res) : BPF_CORE_READ(result, res);
	if (fd < 0)
		return 0;
	socket = socket_of_fd(fd);
	if (!socket)
		return 0;
	sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return 0;
	known = owner_of(sk);
	if (known && known->role == NV_ACCEPTED && !known->tgid)
		accepted(sk);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
