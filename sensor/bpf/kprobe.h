/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Arguments and result of a function that a kprobe or uprobe stops at: registers,
 * which every architecture names its own way. */
#pragma once

#include "kernel.h"

#if defined(__TARGET_ARCH_x86)
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs {
	unsigned long di;
	unsigned long si;
	unsigned long cx;
	unsigned long ax;
	unsigned long ip;
	unsigned long sp;
};
#pragma clang attribute pop
#define ARGUMENT1(registers) ((registers)->di)
#define ARGUMENT2(registers) ((registers)->si)
#define ARGUMENT4(registers) ((registers)->cx)
#define RESULT(registers) ((registers)->ax)
#define INSTRUCTION(registers) ((registers)->ip)
/* Where the stack ends at the first instruction of a function, and once it has
 * returned: the return address has been taken off by then. */
#define STACK_CALLED(registers) ((registers)->sp)
#define STACK_RETURNED(registers) ((registers)->sp - sizeof(long))
#elif defined(__TARGET_ARCH_arm64)
/* arch/arm64/include/uapi/asm/ptrace.h */
struct pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
};
#define ARGUMENT1(registers) ((registers)->regs[0])
#define ARGUMENT2(registers) ((registers)->regs[1])
#define ARGUMENT4(registers) ((registers)->regs[3])
#define RESULT(registers) ((registers)->regs[0])
#define INSTRUCTION(registers) ((registers)->pc)
#define STACK_CALLED(registers) ((registers)->sp)
#define STACK_RETURNED(registers) ((registers)->sp)
#else
#error "the registers of this architecture are not described"
#endif
