package probe

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errReturns is why a kernel must not be asked to change a return address.
var errReturns = errors.New("the instructions that return from getaddrinfo are not found, and on this kernel a probe of its return address kills programs that have a filter of system calls: Linux 6.14 does not, nor do later releases of 6.12 and 6.13")

// sysUretprobe is the system call by which a function returns that has such a probe,
// on x86-64 since Linux 6.11. Programs cannot use it themselves. Until 6.14 (commit
// cf6cb56ef244, and stable kernels that have it) it went through the filters of
// seccomp(2), none of which could know it.
const sysUretprobe = 335

// filterAnswer is the errno with which the filter of [returnsAreSafe] refuses.
const filterAnswer = unix.ENOTBLK

// returnsAreSafe tries, in a child, whether that system call goes past a filter: the
// kernel then finds that it was not made by itself, and ends the child by SIGILL.
func returnsAreSafe() error {
	if runtime.GOARCH != "amd64" || !hasUretprobe() {
		return nil
	}
	filter := [...]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: sysUretprobe, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: seccompRetErrno | uint32(filterAnswer)},
		{Code: unix.BPF_RET | unix.BPF_K, K: seccompRetAllow},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	pid, errno := forkFiltered(&program)
	runtime.KeepAlive(&filter)
	if errno != 0 {
		return fmt.Errorf("trying it in a child: %w", errno)
	}
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(int(pid), &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for a child: %w", err)
		}
		break
	}
	if !status.Signaled() || status.Signal() != unix.SIGILL {
		return errReturns
	}
	return nil
}

// hasUretprobe reports whether the kernel is one that uses the system call.
func hasUretprobe() bool {
	var uname unix.Utsname
	var major, minor int
	if unix.Uname(&uname) != nil {
		return true // as what has to be tried
	}
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(uname.Release[:]), "%d.%d", &major, &minor); n < 2 {
		return true
	}
	return major > 6 || major == 6 && minor >= 11
}

// include/uapi/linux/seccomp.h
const (
	seccompSetModeFilter = 1
	seccompRetErrno      = 0x00050000
	seccompRetAllow      = 0x7fff0000
)

// forkFiltered makes a child that takes a filter and then makes the system call. It
// is a copy of this thread alone, and so does nothing but system calls, as the
// child of a fork in package syscall does, until it ends.
//
//go:nosplit
//go:norace
func forkFiltered(program *unix.SockFprog) (pid uintptr, errno unix.Errno) {
	all, before := ^uint64(0), uint64(0)
	// A signal that arrived in the child would find no scheduler.
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&before)), 8, 0, 0)
	pid, _, errno = unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid == 0 && errno == 0 {
		unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0) // no core
		unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
		unix.RawSyscall(unix.SYS_SECCOMP, seccompSetModeFilter, 0, uintptr(unsafe.Pointer(program)))
		unix.RawSyscall(sysUretprobe, 0, 0, 0)
		for {
			unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		}
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&before)), 0, 8, 0, 0)
	return pid, errno
}
