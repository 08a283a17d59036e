/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* From a file, or a file descriptor of the current process, to its socket. */
#pragma once

#include "kernel.h"

/* bpf_sock_from_file is such too, from Linux 5.11 on. */
static __always_inline struct socket *socket_of_file(struct file *file)
{
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	return BPF_CORE_READ(file, private_data); /* none of a path to a socket (O_PATH) */
}

static __always_inline struct socket *socket_of_fd(__u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), &files[fd]);
	return file ? socket_of_file(file) : NULL;
}
