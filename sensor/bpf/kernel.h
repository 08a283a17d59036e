/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What netview reads of the kernel's structs. Only the names count: where a
 * field lies is found out when a program is loaded (CO-RE), so no headers of a
 * kernel are needed. */
#pragma once

#include "types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define EINPROGRESS 115

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

/* include/uapi/linux/net.h: a field of an enum's type must be read as one */
typedef enum {
	SS_UNCONNECTED = 1,
} socket_state;

/* include/uapi/linux/stat.h */
#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* include/net/sock.h, enum sock_flags */
#define SOCK_DONE 1

/* include/net/sock.h */
#define SEND_SHUTDOWN 2

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpadded" /* their layout here means nothing */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	__s64 counter;
} atomic64_t;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	__u8 sk_shutdown;
	int sk_err;
	__u32 sk_max_ack_backlog;
	struct socket *sk_socket;
};

struct sk_buff {
	struct sock *sk;
};

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
};

struct tcp_sock {
	__u64 bytes_acked;
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u32 srtt_us;
	__u32 total_retrans;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 write_seq;
};

struct socket {
	socket_state state;
	struct file *file;
	struct sock *sk;
};

struct msghdr {
	void *msg_name;
};

struct super_block {
	__u32 s_dev;
};

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct dentry {
	struct inode *d_inode;
};

struct path {
	struct dentry *dentry;
};

struct fs_struct {
	struct path root;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
};

struct file {
	void *private_data;
	struct inode *f_inode;
};

struct io_cqe {
	__s32 res;
};

struct io_kiocb {
	__u8 opcode;
	struct io_cqe cqe;
};

struct io_uring_cqe {
	__s32 res;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

typedef struct {
	unsigned int val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct task_struct {
	unsigned int flags;
	struct task_struct *group_leader;
	const struct cred *cred;
	int tgid;
	struct files_struct *files;
	struct fs_struct *fs;
	struct nsproxy *nsproxy;
	char comm[16];
};

#pragma clang attribute pop
#pragma clang diagnostic pop

/* READ follows a path of the kernel's pointers, such as READ(sk, sk_socket, file).
 * Where the verifier knows the type of the first, a step is a load; elsewhere it
 * is a call of a helper. */
#ifdef BY_BTF
#define READ(...) ___arrow(__VA_ARGS__)
#else
#define READ BPF_CORE_READ
#endif
