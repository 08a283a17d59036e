package socket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// mountTimeout bounds the way to a namespace that a mount holds: its path may
// lie on a file system that does not answer.
const mountTimeout = 2 * time.Second

// Reader reads the sockets of a host. Only [Reader.Stats] and [Reader.Counts]
// may be called while a read runs.
type Reader struct {
	// Proc is the root of procfs, such as /proc.
	Proc string
	// Log gets one line for the first loss of each cause; nil gets none.
	Log *slog.Logger

	walk   walk
	tables tables
	// stuck are visits that did not come back in time, by namespace. A
	// namespace is not visited again while one is.
	stuck map[uint64]<-chan error

	mutex  sync.Mutex // of what follows
	counts map[Cause]uint64
	first  map[Cause]string
}

// Table is what one read found.
type Table struct {
	Rows []Row
	// Namespaces is the number of namespaces whose sockets are in Rows.
	Namespaces int
	// NoDiag is why the TCP sockets of a namespace were read from /proc/net/tcp
	// and tcp6, which takes many times longer than sock_diag; the first reason
	// of several, nil where there is none. No sockets are missing for it.
	NoDiag error
	// Seen are all namespaces, with those that could not be read, by inode.
	Seen []Namespace
}

// Read is [Reader.ReadContext] without a way to stop it.
func (r *Reader) Read(table *Table) error {
	return r.ReadContext(context.Background(), table)
}

// ReadContext fills the table with the sockets of every network namespace that
// a thread lives in or a mount holds, reusing its memory. A row, a table or a
// namespace that cannot be read costs itself alone and is counted. The error
// says that nothing at all could be read, or is that of the context; the table
// then is incomplete.
func (r *Reader) ReadContext(ctx context.Context, table *Table) error {
	table.Rows, table.Namespaces, table.Seen = table.Rows[:0], 0, table.Seen[:0]
	table.NoDiag = nil
	proc, err := procdir.Open(r.Proc)
	if err != nil {
		return fmt.Errorf("listing processes: %w (is procfs mounted there?)", err)
	}
	defer proc.Close()
	last := errors.New("no process shows its network namespace")
	if err := r.walk.namespaces(proc); err != nil {
		return fmt.Errorf("listing processes in %s: %w", r.Proc, err)
	}
	if denied := r.walk.denied; len(denied) > 0 {
		r.lose(CauseNamespaceDenied, uint64(len(denied)), func() string {
			return fmt.Sprintf("ns/net of process %d (it takes CAP_SYS_PTRACE and no fewer rights than the process has)", denied[0])
		})
	}
	lost := 0
	visit := func(again bool) error {
		for i := range r.walk.found {
			ns := &r.walk.found[i]
			if again && !isLost(table.Seen, ns.inode) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("reading the socket tables below %s: %w", r.Proc, err)
			}
			seen, err := r.readNamespace(ctx, proc, ns, table)
			if err != nil {
				last = err
			}
			if seen.Missing == CauseNamespaceGone {
				lost++
			}
			if i := indexOf(table.Seen, ns.inode); again && i >= 0 {
				table.Seen[i] = seen
			} else {
				table.Seen = append(table.Seen, seen)
			}
		}
		return nil
	}
	if err := visit(false); err != nil {
		return err
	}
	if lost > 0 {
		// All threads remembered of a namespace may have ended while others
		// live on: only a second look tells.
		if err := r.walk.namespaces(proc); err == nil {
			if err := visit(true); err != nil {
				return err
			}
		}
	}
	return r.finish(proc, table, last)
}

// isLost reports whether a namespace that is seen again still has to be read.
func isLost(seen []Namespace, inode uint64) bool {
	i := indexOf(seen, inode)
	return i < 0 || seen[i].Missing == CauseNamespaceGone
}

func indexOf(seen []Namespace, inode uint64) int {
	return slices.IndexFunc(seen, func(ns Namespace) bool { return ns.Inode == inode })
}

// finish counts what is missing for good, and flags ephemeral ports.
func (r *Reader) finish(proc procdir.Dir, table *Table, last error) error {
	slices.SortFunc(table.Seen, func(a, b Namespace) int { return cmp.Compare(a.Inode, b.Inode) })
	for _, ns := range table.Seen {
		switch ns.Missing {
		case "":
			table.Namespaces++
		case CauseNamespaceGone:
			r.lose(CauseNamespaceGone, 1, func() string { return fmt.Sprintf("network namespace %d", ns.Inode) })
		}
	}
	if table.Namespaces == 0 {
		return fmt.Errorf("no socket table below %s could be read: %w (is it a procfs with networking, and may this user read it?)", r.Proc, last)
	}
	r.flagEphemeral(proc, table)
	return nil
}

// readNamespace appends the rows of a namespace by the first way that leads
// into it.
func (r *Reader) readNamespace(ctx context.Context, proc procdir.Dir, ns *ways, table *Table) (Namespace, error) {
	seen := Namespace{Inode: ns.inode}
	if len(ns.tasks) == 0 {
		seen.Holder = HeldByMount
	}
	err := errMoved
	for _, task := range ns.tasks {
		if err = r.readTask(proc, task, ns.inode); err == nil {
			r.keep(&r.tables, table)
			seen.Cookies, seen.Accepts = r.tables.noDiag == nil, r.tables.accepts
			return seen, nil
		}
	}
	if len(ns.mounts) > 0 {
		visit, mountErr := r.readMounted(ctx, ns, table)
		if mountErr == nil {
			seen.Holder, seen.Ephemeral, seen.Cookies, seen.Accepts = HeldByMount, visit.ports, visit.tables.noDiag == nil, visit.tables.accepts
			return seen, nil
		}
		if gone := errors.Is(mountErr, errMoved) || procdir.Gone(mountErr); len(ns.tasks) == 0 || !gone {
			err = mountErr
		}
	}
	seen.Missing = CauseTableUnreadable
	switch {
	case errors.Is(err, errMoved), procdir.Gone(err) && len(ns.tasks) == 0:
		seen.Missing = CauseNamespaceGone // counted when it is not found again
	case errors.Is(err, errStuck):
		seen.Missing = CauseNamespaceStuck
	case procdir.Denied(err):
		seen.Missing = CauseNamespaceDenied
	}
	if seen.Missing != CauseNamespaceGone {
		r.lose(seen.Missing, 1, err.Error)
	}
	return seen, err
}

func (r *Reader) readTask(proc procdir.Dir, at task, inode uint64) error {
	dir, err := openTask(&r.tables.buffers, proc, at)
	if err != nil {
		if procdir.Gone(err) {
			return errMoved
		}
		return fmt.Errorf("opening thread %d of process %d: %w", at.tid, at.pid, err)
	}
	defer dir.Close()
	return r.tables.read(dir, inode)
}

// openTask opens /proc/PID/task/TID.
func openTask(buffers *procdir.Buffers, proc procdir.Dir, at task) (procdir.Dir, error) {
	return buffers.OpenDir(proc, fmt.Sprintf("%d/task/%d", at.pid, at.tid))
}

// keep takes over what was read of one namespace.
func (r *Reader) keep(from *tables, table *Table) {
	table.Rows = append(table.Rows, from.rows...)
	if table.NoDiag == nil {
		table.NoDiag = from.noDiag
	}
	for _, fault := range from.faults {
		r.lose(fault.cause, 1, func() string { return fault.text })
	}
}

var errStuck = fmt.Errorf("the file that holds the network namespace did not answer within %v", mountTimeout)

// readMounted reads a namespace from inside, for want of a thread that lives
// there. It uses memory and descriptors of its own, since it may come back when
// the read is long over.
func (r *Reader) readMounted(ctx context.Context, ns *ways, table *Table) (*visit, error) {
	if stuck, is := r.stuck[ns.inode]; is {
		select {
		case <-stuck:
			delete(r.stuck, ns.inode)
		default:
			return nil, errStuck
		}
	}
	visit := &visit{proc: r.Proc, inode: ns.inode, mounts: slices.Clone(ns.mounts)}
	done := make(chan error, 1)
	go func() { done <- visit.run() }()
	timeout := time.NewTimer(mountTimeout)
	defer timeout.Stop()
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
		r.keep(&visit.tables, table)
		return visit, nil
	case <-ctx.Done():
	case <-timeout.C:
	}
	if r.stuck == nil {
		r.stuck = map[uint64]<-chan error{}
	}
	r.stuck[ns.inode] = done
	return nil, errStuck
}

// visit is one reading of a namespace that a mount holds.
type visit struct {
	proc   string
	inode  uint64
	mounts []mount
	tables tables
	ports  PortRange // ephemeral ones; zero where they cannot be read
}

func (v *visit) run() error {
	proc, err := procdir.Open(v.proc)
	if err != nil {
		return err
	}
	defer proc.Close()
	for _, mount := range v.mounts {
		if err = v.enter(proc, mount); err == nil {
			return nil
		}
	}
	return err
}

func (v *visit) enter(proc procdir.Dir, at mount) error {
	fd, err := openMounted(proc, at, v.inode)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return enter(fd, func() error {
		self, err := v.tables.buffers.OpenDir(proc, "thread-self")
		if err != nil {
			return fmt.Errorf("opening %s/thread-self: %w", v.proc, err)
		}
		defer self.Close()
		v.ports, _ = portRange(&v.tables.buffers, proc)
		return v.tables.read(self, v.inode)
	})
}
