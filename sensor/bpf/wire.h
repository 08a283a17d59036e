/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the programs tell the sensor: records of one ring buffer, each of which
 * begins with its type. sensor/probe decodes them; a test compares both by BTF.
 * Every hole is a field with a name (-Wpadded -Werror). */
#pragma once

#include "types.h"

enum nv_type {
	/* An attempt to connect has its result. */
	NV_CONNECT = 1,
	/* A process took a connection from a listener. */
	NV_ACCEPT,
	/* A socket began to listen. */
	NV_LISTEN,
	/* A connection that had been established is closed. */
	NV_CLOSE,
	/* A process asks to connect: as the LSM sees it. */
	NV_LSM_CONNECT,
	/* A packet between a process and a DNS server: struct nv_packet. */
	NV_PACKET,
	/* A call of getaddrinfo has ended. */
	NV_LOOKUP,
	/* A process runs a program in a root or mount namespace that is new. */
	NV_EXEC,
};

enum nv_role {
	NV_UNKNOWN, /* the socket is older than the program */
	NV_CONNECTED,
	NV_ACCEPTED,
};

struct nv_socket_event {
	enum nv_type type;
	__u32 netns; /* inode */
	__u64 time;  /* ns on the boot clock */
	__u64 start; /* of the connection, likewise; 0 where it is not known */
	__u64 cookie;
	__u64 bytes_sent;     /* without SYN and FIN, acknowledged by the peer */
	__u64 bytes_received; /* without FIN */
	__u32 tgid;           /* of the owner; 0 where it is not known */
	__u32 uid;
	__u32 error;       /* errno, above 0 */
	__u32 srtt_us;     /* as tcp_sock has it: eighths of a microsecond */
	__u32 retransmits; /* segments */
	__u32 backlog;
	enum nv_role role;
	__u16 family;
	__u16 local_port;
	__u16 remote_port;
	__u8 old_state; /* before the end or the failure (include/net/tcp_states.h); else 0 */
	__u8 fin_received;
	__u8 fin_acked; /* our own */
	__u8 half_closed; /* we had closed with shutdown(2), and the peer had not when the socket was closed */
	__u8 protocol;    /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 pad;
	__u8 local[16]; /* 4 bytes of it for IPv4 */
	__u8 remote[16];
	char comm[16];
};

/* How much payload a record of a packet has room for: the least that holds it, and
 * of a longer one as much as the largest. */
enum nv_room {
	NV_ROOM_QUERY = 128,
	NV_ROOM_ANSWER = 512,
	NV_ROOM_LONG = 4096,
	NV_ROOM_LONGEST = 65536,
};

/* An nv_room of payload follows, of which what is not kept means nothing. */
struct nv_packet {
	enum nv_type type;
	__u32 netns; /* inode */
	__u64 time;  /* ns on the boot clock */
	__u64 cookie;
	__u32 tgid;     /* of the sender of a datagram; else 0 */
	__u32 uid;      /* likewise */
	__u32 sequence; /* TCP: of the payload's first byte */
	__u32 length;   /* of the payload on the wire */
	__u32 kept;     /* bytes of it that are here */
	__u16 family;
	__u16 local_port;
	__u16 remote_port;
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 sent;     /* by the socket; else received by it */
	__u8 local[16]; /* 4 bytes of it for IPv4 */
	__u8 remote[16];
	char comm[16]; /* of the sender of a datagram */
	__u8 pad[4];
};

enum nv_text {
	NV_TEXT_NULL,
	NV_TEXT_READ,
	NV_TEXT_UNREAD, /* it is not in memory, or no pointer */
};

struct nv_lookup_address {
	__u16 family;
	__u16 pad;
	__u8 address[16]; /* 4 bytes of it for IPv4 */
};

struct nv_lookup {
	enum nv_type type;
	__u32 netns;   /* inode */
	__u64 time;    /* ns on the boot clock: of the end */
	__u64 start;   /* likewise */
	__u64 library; /* the number under which the programs were attached; 0 on kernels before 5.15 */
	__u64 twin;    /* another such number of the same inode, whose programs ran too; else 0 */
	__u32 tgid;
	__u32 uid;
	__s32 result; /* 0, or a constant EAI_ of that libc */
	__u16 node_length;
	__u16 service_length;
	enum nv_text node_state;
	enum nv_text service_state;
	__u8 count;  /* of addresses */
	__u8 more;   /* there are more of them */
	__u8 unread; /* and they cannot be read */
	__u8 pad[5];
	char comm[16];
	char node[264];   /* a name has at most 255 bytes: what is longer is cut */
	char service[64]; /* likewise cut */
	struct nv_lookup_address addresses[16];
};

struct nv_exec {
	enum nv_type type;
	__u32 tgid;
};

/* Losses, as indexes of the map `losses`. */
enum nv_loss {
	NV_LOST_RING_FULL,
	NV_LOST_OWNERS_FULL,
	NV_LOST_PACKET_UNREAD,
	NV_LOST_LOOKUP_UNREAD, /* a part of a lookup */
	NV_LOSSES,
};
