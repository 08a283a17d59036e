// Package tracefs attaches programs to the kernel's tracepoints, whether the host
// has mounted tracefs or not.
package tracefs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// hostTracefs is where the kernel offers a place to mount it, which most hosts do.
const hostTracefs = "/sys/kernel/tracing"

// Open gives a view of the kernel's tracepoints that nobody else sees, until done
// is called: a mount without a place, so that the sensor neither depends on the
// host's mounts, which a container often lacks, nor adds to them. Without the
// right to mount (CAP_SYS_ADMIN) it is the host's.
func Open() (dir string, done func(), err error) {
	context, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		var kind unix.Statfs_t
		if unix.Statfs(hostTracefs, &kind) == nil && kind.Type == unix.TRACEFS_MAGIC {
			return hostTracefs, func() {}, nil
		}
		return "", nil, fmt.Errorf("opening tracefs, which is not mounted at %s: %w", hostTracefs, err)
	}
	defer unix.Close(context)
	if err := unix.FsconfigCreate(context); err != nil {
		return "", nil, fmt.Errorf("making a mount of tracefs: %w", err)
	}
	fd, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return "", nil, fmt.Errorf("mounting tracefs: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { unix.Close(fd) }, nil
}

// Attach attaches a program to a tracepoint, such as sys_exit_connect of the group
// syscalls, which is looked up in a directory that [Open] gave. It takes CAP_PERFMON.
func Attach(dir, group, name string, program *ebpf.Program) (link.Link, error) {
	text, err := os.ReadFile(filepath.Join(dir, "events", group, name, "id"))
	if err != nil {
		return nil, fmt.Errorf("the tracepoint %s: %w", name, err)
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the number of the tracepoint %s: %w", name, err)
	}
	event, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Sample_type: unix.PERF_SAMPLE_RAW, Sample: 1, Wakeup: 1}, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("opening the tracepoint %s: %w", name, err)
	}
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: event, Program: program, Attach: ebpf.AttachPerfEvent})
	if err != nil {
		unix.Close(event)
		return nil, fmt.Errorf("attaching to the tracepoint %s: %w", name, err)
	}
	if err := unix.IoctlSetInt(event, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		return nil, fmt.Errorf("enabling the tracepoint %s: %w", name, err)
	}
	return l, nil
}
