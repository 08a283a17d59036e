// Package process names the processes that own sockets.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// Identity of a process. Only PID and StartTime are always there.
type Identity struct {
	// PID in the pid namespace of procfs.
	PID uint32
	// StartTime since boot, on the boot clock, in steps of 10 ms. Together
	// with PID it names one process for as long as the host runs.
	StartTime time.Duration
	// Binary is the full path of the executable, as the process's own mount
	// namespace sees it; empty for a kernel thread or without the right to look.
	Binary string
	// BinaryDeleted says that the executable was removed or replaced since.
	BinaryDeleted bool
	// Name is the kernel's comm: up to 15 bytes, which the process may change.
	Name string
	// UID is the effective user, in the reader's user namespace, and User the
	// host's name for it, or the number.
	UID  uint32
	User string
	// Cgroup is the path below the root of the hierarchy, of the hierarchy that
	// tells most; ContainerID is the innermost container in it: 64 hexadecimal
	// digits, empty outside containers.
	Cgroup, ContainerID string
	// Netns is the inode of the network namespace of the process's first thread.
	Netns uint64
	// CommandLine only where the table was told to read it, its words joined by
	// blanks, cut to [longestCommandLine] bytes.
	CommandLine string
}

// longestCommandLine is how much of a command line is kept, in bytes. The
// kernel allows megabytes, and each of the process's sockets carries it.
const longestCommandLine = 4 << 10

// valid replaces what is not UTF-8. Any user can start a process with any name,
// and one such name would make a strict collector refuse the whole request.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// reader reads identities. Its buffers are reused; it is not safe for
// concurrent use.
type reader struct {
	buffers     procdir.Buffers
	commandLine bool
	scrub       func(string) string
}

// start is what tells one process from the next with the same pid, and one
// program from the next in the same process.
type start struct {
	time time.Duration
	name string
}

// errStat says that /proc/PID/stat is not in its format.
var errStat = errors.New("stat does not have the format of proc(5)")

// start reads /proc/PID/stat (kernel: fs/proc/array.c do_task_stat).
func (r *reader) start(dir procdir.Dir) (start, error) {
	stat, err := r.buffers.ReadFile(dir, "stat")
	if err != nil {
		return start{}, fmt.Errorf("reading stat: %w", err)
	}
	return parseStart(stat)
}

// userHZ is the unit of times in /proc/PID/stat. It is part of the kernel's
// ABI: 100 on every architecture that Go runs on.
const userHZ = 100

// startField counts from the state, which follows the name: field 22 of proc(5).
const startField = 22 - 3

func parseStart(stat []byte) (start, error) {
	// The name is in parentheses and may itself hold blanks and parentheses.
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if begin < 0 || end < begin {
		return start{}, errStat
	}
	rest := stat[end+1:]
	for range startField {
		_, after, ok := bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
		if !ok {
			return start{}, errStat
		}
		rest = after
	}
	field, _, _ := bytes.Cut(rest, []byte(" "))
	ticks, ok := parseDecimal(bytes.TrimRight(field, "\n"))
	if !ok || ticks > math.MaxInt64/uint64(time.Second/userHZ) {
		return start{}, errStat
	}
	return start{time.Duration(ticks) * (time.Second / userHZ), valid(string(stat[begin+1 : end]))}, nil
}

func parseDecimal(text []byte) (n uint64, ok bool) {
	for _, c := range text {
		digit := uint64(c - '0')
		if c < '0' || c > '9' || n > (math.MaxUint64-digit)/10 {
			return 0, false
		}
		n = n*10 + digit
	}
	return n, len(text) > 0
}

// deleted is what the kernel appends to the path of a file that has no name
// any more (fs/d_path.c).
const deleted = " (deleted)"

// binary reads the link to the executable. A kernel thread has none.
func (r *reader) binary(dir procdir.Dir) (link []byte, err error) {
	link, err = r.buffers.Readlink(dir, "exe")
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	return link, err
}

// identify reads what the rest of an identity needs. What is not there stays
// empty; the error is the first that says more than that.
func (r *reader) identify(dir procdir.Dir, identity *Identity) error {
	var first error
	keep := func(err error) {
		if err != nil && first == nil {
			first = err
		}
	}
	if text, err := r.buffers.ReadFile(dir, "status"); err != nil {
		keep(err)
	} else if uid, ok := effectiveUID(text); ok {
		identity.UID = uid
	} else {
		keep(errors.New("status has no line with the uid"))
	}
	if text, err := r.buffers.ReadFile(dir, "cgroup"); err == nil {
		identity.Cgroup, identity.ContainerID = cgroup(text)
	} else if !errors.Is(err, unix.ENOENT) { // a kernel without cgroups
		keep(err)
	}
	if r.commandLine {
		text, err := r.buffers.ReadFile(dir, "cmdline")
		keep(err)
		line := valid(string(bytes.ReplaceAll(bytes.TrimRight(text, "\x00"), []byte{0}, []byte{' '})))
		if r.scrub != nil {
			line = r.scrub(line)
		}
		// Only now: half a secret at the end would not match the rule.
		identity.CommandLine = cut(line, longestCommandLine)
	}
	if link, err := r.buffers.Readlink(dir, "ns/net"); err == nil {
		identity.Netns, _ = procdir.Inode(link, "net")
	} else {
		keep(err)
	}
	return first
}

// effectiveUID finds it in /proc/PID/status: the second of real, effective,
// saved and file system uid.
func effectiveUID(status []byte) (uint32, bool) {
	_, rest, ok := bytes.Cut(status, []byte("\nUid:\t"))
	if !ok {
		return 0, false
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 2 {
		return 0, false
	}
	uid, ok := parseDecimal(fields[1])
	return uint32(uid), ok && uid <= math.MaxUint32
}

// setBinary takes the target of exe apart.
func (i *Identity) setBinary(link string) {
	i.Binary, i.BinaryDeleted = strings.CutSuffix(valid(link), deleted)
}

// cut shortens a text to a number of bytes, without half a character at its end.
func cut(text string, length int) string {
	if len(text) <= length {
		return text
	}
	for length > 0 && !utf8.RuneStart(text[length]) {
		length--
	}
	return strings.Clone(text[:length])
}
