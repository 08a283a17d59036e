package kernelfs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Tracefs is a [View] of the kernel's tracepoints.
func Tracefs() (dir string, done func(), err error) {
	return View("tracefs", unix.TRACEFS_MAGIC, "/sys/kernel/tracing")
}

// AttachTracepoint attaches a program to a tracepoint, such as sys_exit_connect of
// the group syscalls, which is looked up in a view that [Tracefs] gave, until what it
// returns is closed. It takes CAP_PERFMON. A link of bpf(2) would take Linux 5.15.
func AttachTracepoint(dir, group, name string, program *ebpf.Program) (io.Closer, error) {
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
	attached := os.NewFile(uintptr(event), name)
	if err := unix.IoctlSetInt(event, unix.PERF_EVENT_IOC_SET_BPF, program.FD()); err != nil {
		attached.Close()
		return nil, fmt.Errorf("attaching to the tracepoint %s: %w", name, err)
	}
	if err := unix.IoctlSetInt(event, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		attached.Close()
		return nil, fmt.Errorf("enabling the tracepoint %s: %w", name, err)
	}
	return attached, nil
}
