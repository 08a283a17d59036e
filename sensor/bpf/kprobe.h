/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Arguments and result of a function that a kprobe stops at: registers, which
 * every architecture names its own way. */
#pragma once

#include "kernel.h"

#if defined(__TARGET_ARCH_x86)
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs {
	unsigned long di;
	unsigned long si;
	unsigned long ax;
};
#pragma clang attribute pop
#define ARGUMENT1(registers) ((registers)->di)
#define ARGUMENT2(registers) ((registers)->si)
#define RESULT(registers) ((registers)->ax)
#elif defined(__TARGET_ARCH_arm64)
/* arch/arm64/include/uapi/asm/ptrace.h */
struct pt_regs {
	__u64 regs[31];
};
#define ARGUMENT1(registers) ((registers)->regs[0])
#define ARGUMENT2(registers) ((registers)->regs[1])
#define RESULT(registers) ((registers)->regs[0])
#else
#error "the registers of this architecture are not described"
#endif
