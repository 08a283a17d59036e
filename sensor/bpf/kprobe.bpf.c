//go:build ignore

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What fexit_accept.bpf.c and fexit_udp.bpf.c see, for kernels without fentry,
 * such as those of arm64 before 6.4: kprobes cost more. */
#define BY_KPROBE
#include "accept.h"
#include "datagram.h"
#include "kprobe.h"

SEC("kretprobe/inet_csk_accept")
int accept_returned(struct pt_regs *registers)
{
	struct sock *sk = (struct sock *)RESULT(registers);

	if (sk && BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_CLOSE)
		accepted(sk);
	return 0;
}

static __always_inline int sends(struct pt_regs *registers)
{
	struct sock *sk = (struct sock *)ARGUMENT1(registers);
	struct msghdr *message = (struct msghdr *)ARGUMENT2(registers);

	/* The result is not known yet: a datagram that is refused counts as sent. */
	if (!BPF_CORE_READ(message, msg_name))
		datagram_sent(sk, 0);
	return 0;
}

SEC("kprobe/udp_sendmsg")
int udp_sends(struct pt_regs *registers)
{
	return sends(registers);
}

SEC("kprobe/udpv6_sendmsg")
int udpv6_sends(struct pt_regs *registers)
{
	return sends(registers);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
