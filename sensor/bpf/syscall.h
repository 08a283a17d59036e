/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The records of the tracepoints of syscalls, which are the same on every
 * architecture: /sys/kernel/tracing/events/syscalls/ */
#pragma once

#include "types.h"

struct sys_enter {
	__u64 common; /* of every tracepoint */
	__s64 number;
	__u64 args[6];
};

struct sys_exit {
	__u64 common;
	__s64 number;
	__s64 ret;
};
