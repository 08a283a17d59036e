// Package libc finds the libcs that processes have in memory, and keeps the
// programs for getaddrinfo attached to each: once for each file, for as long as a
// process has it.
package libc

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/process/procdir"
)

// Kernel is where the programs are; [probe.Probe] is one.
type Kernel interface {
	// AttachLookups attaches them to getaddrinfo in a file, under a number above 0,
	// until what it returns is closed.
	AttachLookups(path string, number uint64) (io.Closer, error)
	// ForgetRoots has it tell of the next exec in each root anew: [Finder.Exec].
	ForgetRoots() error
}

// Most libcs that are followed at a time. A host has one, and one for each image of
// its containers.
const Most = 256

// Library is a libc that processes have in memory.
type Library struct {
	// Path by which the process has it in which it was found first; where that has
	// changed its root in the sensor's own mount namespace, the sensor's path.
	Path string
	// Processes that have it in memory.
	Processes int
	// Err is why nothing is told of it; nil where the programs are attached.
	Err error
}

// Causes for which nothing is told of a libc, as in metrics.
const (
	CauseBits    = "libc_32_bit"
	CauseMachine = "libc_other_machine"
	CauseUnfit   = "libc_unfit"   // it is none, or has no getaddrinfo
	CauseRefused = "libc_refused" // by the kernel
	CauseDenied  = "libc_denied"  // the process may not be looked at
	CauseRoom    = "libc_no_room" // there are more than [Most]
)

// Causes lists every cause, for metrics that start at zero.
func Causes() []string {
	return []string{CauseBits, CauseMachine, CauseUnfit, CauseRefused, CauseDenied, CauseRoom}
}

// cause of an error of a library.
func cause(err error) string {
	var malformed *elf.FormatError
	switch {
	case errors.Is(err, errBits):
		return CauseBits
	case errors.Is(err, errMachine):
		return CauseMachine
	case errors.Is(err, errSize), errors.Is(err, errNoELF), errors.Is(err, link.ErrNoSymbol), errors.As(err, &malformed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return CauseUnfit
	}
	return CauseRefused
}

// State is what became of all libcs, as of the last look.
type State struct {
	Libraries []Library
	// Denied are processes whose memory may not be looked at.
	Denied int
	// Beyond are processes with a libc that had no room: more than [Most].
	Beyond int
	// paths of the libcs that are attached, by number.
	paths map[uint64]string
}

// Counts of the libcs by what became of them: [event.LibraryAttached], or a cause.
// Of [CauseDenied] and [CauseRoom] they are processes.
func (s *State) Counts() map[string]int {
	counts := map[string]int{event.LibraryAttached: 0}
	for _, cause := range Causes() {
		counts[cause] = 0
	}
	for _, l := range s.Libraries {
		if l.Err != nil {
			counts[cause(l.Err)]++
		} else {
			counts[event.LibraryAttached]++
		}
	}
	counts[CauseDenied] += s.Denied
	counts[CauseRoom] += s.Beyond
	return counts
}

// Finder finds them. All but Run may be called by others at any time.
type Finder struct {
	proc   string
	kernel Kernel
	log    *slog.Logger
	execs  chan uint32
	twins  chan [2]uint64
	state  atomic.Pointer[State]

	// What follows belongs to Run.
	buffers        procdir.Buffers
	pids           []uint32
	processes      map[uint32]*process
	files          map[file]*library
	number         uint64 // of the library that came last
	looks          uint64 // at all
	denied, beyond int
}

// file is an inode.
type file struct{ device, inode uint64 }

type library struct {
	Library
	number uint64
	probes io.Closer // nil where Err says why
	// expected says that it was found before any process had it in memory: it is
	// kept until the next look at all.
	expected bool
	// mapped says that a process had it in memory: what it was found by before is often
	// a link to it.
	mapped bool
	// twin is the library by which this one's lookups are told: both are the same
	// inode, under two file systems.
	twin *library
}

// real is the library that has the probes.
func (l *library) real() *library {
	for l.twin != nil {
		l = l.twin
	}
	return l
}

// process that was looked at.
type process struct {
	program   program
	libraries []*library // none: it is looked at again
	seen      uint64     // in which look at all, or after which
}

// New makes a finder, which finds nothing before it runs. proc is the root of procfs.
func New(proc string, kernel Kernel, log *slog.Logger) *Finder {
	f := &Finder{proc: proc, kernel: kernel, log: log, execs: make(chan uint32, 256), twins: make(chan [2]uint64, 16),
		processes: map[uint32]*process{}, files: map[file]*library{}}
	f.publish()
	return f
}

// State of the libcs now.
func (f *Finder) State() *State { return f.state.Load() }

// Path of the libc that has a number, or nothing.
func (f *Finder) Path(number uint64) string { return f.state.Load().paths[number] }

// Exec is told of a process that runs a program where none has run before. With
// more of them than can be looked at, the next look at all finds them.
func (f *Finder) Exec(pid uint32) {
	select {
	case f.execs <- pid:
	default:
	}
}

// Twins is told of two numbers under which the same call was seen. Where there is no
// time for it, they are seen again.
func (f *Finder) Twins(one, other uint64) {
	select {
	case f.twins <- [2]uint64{one, other}:
	default:
	}
}

// Run looks at all processes at once and after each interval, and in between at what
// it is told of, until ctx ends. Then it lets go of all libcs.
func (f *Finder) Run(ctx context.Context, interval time.Duration) {
	defer f.close()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	f.look()
	for {
		select {
		case <-ticker.C:
			f.look()
		case pid := <-f.execs:
			f.executed(pid)
		case pair := <-f.twins:
			f.join(pair[0], pair[1])
		case <-ctx.Done():
			return
		}
		f.publish()
	}
}

// Look looks at all processes once, for [Finder.State], and lets go of what it found.
func (f *Finder) Look() {
	f.look()
	f.close()
}

// look at all processes: into those that are new, or run another program.
func (f *Finder) look() {
	proc, err := procdir.Open(f.proc)
	if err != nil {
		f.log.Warn("No libcs are found", "err", err)
		return
	}
	defer proc.Close()
	if f.pids, err = f.buffers.AppendNumbers(f.pids[:0], proc); err != nil {
		f.log.Warn("No libcs are found", "err", fmt.Errorf("listing %s: %w", f.proc, err))
		return
	}
	f.looks++
	f.denied, f.beyond = 0, 0
	for _, pid := range f.pids {
		f.visit(proc, pid)
	}
	for pid, p := range f.processes {
		if p.seen != f.looks {
			f.forget(pid)
		}
	}
	f.release()
	f.publish()
}

// visit looks into a process, unless it was looked at and runs the same program.
func (f *Finder) visit(proc procdir.Dir, pid uint32) {
	dir, err := f.buffers.OpenNumber(proc, pid)
	if err != nil {
		return // it has ended
	}
	defer dir.Close()
	stat, err := f.buffers.ReadFile(dir, "stat")
	if err != nil {
		return
	}
	now, of := programOf(stat)
	if !of {
		return
	}
	p := f.processes[pid]
	if p != nil && p.program != now {
		f.forget(pid)
		p = nil
	}
	if p == nil {
		p = &process{program: now}
		f.processes[pid] = p
	}
	p.seen = f.looks
	if p.libraries != nil {
		return
	}
	mappings, err := f.buffers.ReadFile(dir, "maps")
	if err != nil {
		if procdir.Denied(err) {
			f.denied++
		}
		return
	}
	for m := range libcs(mappings) {
		fd, err := openMapping(dir, &m)
		if err != nil {
			if procdir.Denied(err) {
				f.denied++
			}
			continue
		}
		if l := f.library(fd, m.path); l != nil {
			p.libraries = append(p.libraries, l)
			l.real().Processes++
			if !l.mapped {
				l.Path, l.mapped = m.path, true
			}
		}
		unix.Close(fd)
	}
}

// executed looks for the libcs that a process may load in a moment, and at those that
// it has already.
func (f *Finder) executed(pid uint32) {
	proc, err := procdir.Open(f.proc)
	if err != nil {
		return // the next look at all says so
	}
	defer proc.Close()
	dir, err := f.buffers.OpenNumber(proc, pid)
	if err != nil {
		return // it has ended
	}
	defer dir.Close()
	if root, err := f.buffers.OpenDir(dir, "root"); err == nil {
		for _, path := range usual {
			if fd, err := openBelow(root, path); err == nil {
				if l := f.library(fd, "/"+path); l != nil && l.real().Processes == 0 {
					l.real().expected = true
				}
				unix.Close(fd)
			}
		}
		root.Close()
	}
	f.visit(proc, pid)
}

// library of an open file, with the programs attached where it is new; nil where
// there is no room for it.
func (f *Finder) library(fd int, path string) *library {
	var stat unix.Stat_t
	if unix.Fstat(fd, &stat) != nil || stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	key := file{uint64(stat.Dev), stat.Ino}
	if l := f.files[key]; l != nil {
		return l
	}
	if len(f.files) >= Most {
		f.beyond++
		return nil
	}
	f.number++
	l := &library{Library: Library{Path: path}, number: f.number}
	if l.Err = check(fd, stat.Size); l.Err == nil {
		l.probes, l.Err = f.attach(fd, f.number)
	}
	f.files[key] = l
	f.log.Debug("Found a libc", "path", path, "inode", stat.Ino, "err", l.Err)
	return l
}

// attach the programs to an open file. Its mount, which is held as long as they are,
// is one that only the sensor has, so that whoever made the real one can take it
// away; where that is not to be had it is the real one.
func (f *Finder) attach(fd int, number uint64) (io.Closer, error) {
	if clone, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH); err == nil {
		defer unix.Close(clone)
		fd = clone
	}
	return f.kernel.AttachLookups(pathOf(fd), number)
}

// forget a process.
func (f *Finder) forget(pid uint32) {
	for _, l := range f.processes[pid].libraries {
		l.real().Processes--
	}
	delete(f.processes, pid)
}

// join two libraries that are one inode.
func (f *Finder) join(one, other uint64) {
	var a, b *library
	for _, l := range f.files {
		switch l.number {
		case one:
			a = l.real()
		case other:
			b = l.real()
		}
	}
	if a == nil || b == nil || a == b {
		return
	}
	f.detach(b)
	b.twin = a
	a.Processes += b.Processes
	a.expected = a.expected || b.expected
}

// release lets go of libraries that no process has any more.
func (f *Finder) release() {
	released := false
	for key, l := range f.files {
		real := l.real()
		if real.Processes > 0 || real.expected {
			continue
		}
		f.detach(real)
		delete(f.files, key)
		// One that was expected in vain is not expected again.
		released = released || l.mapped
	}
	for _, l := range f.files {
		l.expected = false
	}
	if !released {
		return
	}
	if err := f.kernel.ForgetRoots(); err != nil {
		f.log.Debug("A libc that comes back is found later", "err", err)
	}
}

func (f *Finder) detach(l *library) {
	if l.probes == nil {
		return
	}
	if err := l.probes.Close(); err != nil {
		f.log.Debug("A libc is let go with an error", "path", l.Path, "err", err)
	}
	l.probes = nil
}

// close lets go of all.
func (f *Finder) close() {
	for _, l := range f.files {
		f.detach(l)
	}
}

// publish shows what was found.
func (f *Finder) publish() {
	s := &State{Libraries: make([]Library, 0, len(f.files)), Denied: f.denied, Beyond: f.beyond, paths: make(map[uint64]string, len(f.files))}
	for _, l := range f.files {
		s.paths[l.number] = l.Path
		if l.twin == nil {
			s.Libraries = append(s.Libraries, l.Library)
		}
	}
	slices.SortFunc(s.Libraries, func(a, b Library) int { return strings.Compare(a.Path, b.Path) })
	f.state.Store(s)
}

var (
	errBits    = errors.New("it is of 32 bits, whose lists of addresses are not read")
	errMachine = errors.New("it is for another kind of machine")
	errSize    = errors.New("it is larger than any libc")
	errNoELF   = errors.New("it is no library")
)
