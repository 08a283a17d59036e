package process

import (
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// Causes for which a process could not be named, as in metrics and heartbeat.
const (
	// CauseDenied: a process may not be looked at (it takes CAP_SYS_PTRACE); its
	// sockets have no process, or one without a binary.
	CauseDenied = "process_denied"
	// CauseGone: a process ended while it was looked at.
	CauseGone = "process_gone"
	// CauseUnreadable: the files of a process could not be read, or not be
	// understood, for another reason.
	CauseUnreadable = "process_unreadable"
)

// Causes lists every cause, for metrics that start at zero.
func Causes() []string { return []string{CauseDenied, CauseGone, CauseUnreadable} }

const (
	// maxCached bounds the identities that are remembered.
	maxCached = 1 << 16
	// scansToRefresh is after how many scans an identity is read again though
	// the process runs the same program: a daemon that gave up its rights, or
	// was moved to another cgroup or namespace, is known wrongly for no longer.
	scansToRefresh = 4
)

// Table maps sockets to their processes, anew at each [Table.Scan]. One scan
// may run at a time; all else is safe for concurrent use.
type Table struct {
	// Proc is the root of procfs, such as /proc.
	Proc string
	// CommandLine asks for command lines, passed through Scrub.
	CommandLine bool
	// Scrub replaces what must not be stored in a command line; nil keeps all.
	Scrub func(string) string

	// Of the scan that runs.
	reader  reader
	pids    []uint32
	fds     []uint32
	sockets map[uint64]*entry

	mutex  sync.Mutex // of what follows
	owners map[uint64]*entry
	cache  map[key]*entry
	scans  uint64
	counts map[string]uint64
	users  users
}

// key names one process for as long as the host runs: a pid alone is reused.
type key struct {
	pid   uint32
	start time.Duration
}

// entry is a remembered identity, which does not change any more.
type entry struct {
	identity Identity
	binary   string // the link as read, with its "(deleted)"
	read     uint64 // the scan that read it
	used     uint64 // the scan that last saw the process
}

// before orders the owners of a shared socket.
func (e *entry) before(other *entry) bool {
	if e.identity.StartTime != other.identity.StartTime {
		return e.identity.StartTime < other.identity.StartTime
	}
	return e.identity.PID < other.identity.PID
}

// Scan finds the owner of every socket that a process has open, and names it. A
// socket shared by several processes belongs to the one that started first, by
// pid where that is the same: most often the parent that opened it, and always
// the same one while it lives. The error says that no process at all could be
// listed; the owners of the last scan then stay.
func (t *Table) Scan() error {
	proc, err := procdir.Open(t.Proc)
	if err != nil {
		return fmt.Errorf("listing processes: %w (is procfs mounted there?)", err)
	}
	defer proc.Close()
	if t.pids, err = t.reader.buffers.AppendNumbers(t.pids[:0], proc); err != nil {
		return fmt.Errorf("listing processes in %s: %w", t.Proc, err)
	}
	if len(t.pids) == 0 {
		return fmt.Errorf("there is no process in %s (is procfs mounted there?)", t.Proc)
	}
	t.begin()
	for _, pid := range t.pids {
		t.count(t.scan(proc, pid))
	}
	t.end()
	return nil
}

// begin makes ready for a scan.
func (t *Table) begin() {
	t.reader.commandLine, t.reader.scrub = t.CommandLine, t.Scrub
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.scans++
	t.refreshUsers()
	if t.sockets == nil {
		t.sockets = map[uint64]*entry{}
	}
	clear(t.sockets)
}

// refreshUsers prefers the host's passwd to that of a container the sensor may
// run in.
func (t *Table) refreshUsers() {
	// Without either file users stay numbers, which needs no other word.
	_ = t.users.refresh(filepath.Join(t.Proc, "1/root/etc/passwd"), "/etc/passwd")
}

// end publishes what a scan found, and forgets the processes it did not see.
func (t *Table) end() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.owners, t.sockets = t.sockets, t.owners
	for k, e := range t.cache {
		if e.used != t.scans {
			delete(t.cache, k)
		}
	}
}

// scan reads the descriptors of a process, and names it if it has a socket.
func (t *Table) scan(proc procdir.Dir, pid uint32) error {
	b := &t.reader.buffers
	dir, err := b.OpenNumber(proc, pid)
	if err != nil {
		return err
	}
	defer dir.Close()
	descriptors, err := b.OpenDir(dir, "fd")
	if err != nil {
		return err
	}
	defer descriptors.Close()
	if t.fds, err = b.AppendNumbers(t.fds[:0], descriptors); err != nil {
		return err
	}
	var owner *entry
	for _, fd := range t.fds {
		link, err := b.ReadlinkNumber(descriptors, "", fd, "")
		if procdir.Denied(err) {
			return err // as all of them are
		}
		if err != nil {
			continue // closed meanwhile
		}
		inode, isSocket := procdir.Inode(link, "socket")
		if !isSocket {
			continue
		}
		if owner == nil {
			if owner, err = t.remember(&t.reader, dir, pid); owner == nil {
				return err
			}
			t.count(err)
		}
		if other := t.sockets[inode]; other == nil || owner.before(other) {
			t.sockets[inode] = owner
		}
	}
	return nil
}

// remember returns the identity of a process, from memory unless that is out of
// date. It is nil when the process could not be named at all; with an error it
// is what could be had.
func (t *Table) remember(r *reader, dir procdir.Dir, pid uint32) (*entry, error) {
	begin, err := r.start(dir)
	if err != nil {
		return nil, err
	}
	k := key{pid, begin.time}
	binary, binaryErr := r.binary(dir)
	t.mutex.Lock()
	known, scans := t.cache[k], t.scans
	// An exec keeps pid and start time, but not the executable and the name.
	if known != nil && known.binary == string(binary) && known.identity.Name == begin.name && scans-known.read < scansToRefresh {
		known.used = scans
		t.mutex.Unlock()
		return known, nil
	}
	t.mutex.Unlock()

	fresh := &entry{identity: Identity{PID: pid, StartTime: begin.time, Name: begin.name}, binary: string(binary), read: scans, used: scans}
	fresh.identity.setBinary(fresh.binary)
	err = r.identify(dir, &fresh.identity)
	if binaryErr != nil {
		err = binaryErr
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	fresh.identity.User = t.users.name(fresh.identity.UID)
	if t.cache == nil {
		t.cache = map[key]*entry{}
	}
	if _, known := t.cache[k]; known || len(t.cache) < maxCached {
		t.cache[k] = fresh
	}
	return fresh, err
}

// Owner returns the process that has the socket open, as of the last scan.
func (t *Table) Owner(inode uint64) (Identity, bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	owner := t.owners[inode]
	if owner == nil || inode == 0 {
		return Identity{}, false
	}
	return owner.identity, true
}

// Process names a process that runs now, from memory where that still holds.
// Of a process whose files may not be read it returns what could be had.
func (t *Table) Process(pid uint32) (Identity, error) {
	proc, err := procdir.Open(t.Proc)
	if err != nil {
		return Identity{}, err
	}
	defer proc.Close()
	r := reader{commandLine: t.CommandLine, scrub: t.Scrub}
	dir, err := r.buffers.OpenNumber(proc, pid)
	if err != nil {
		t.count(err)
		return Identity{}, fmt.Errorf("naming process %d: %w", pid, err)
	}
	defer dir.Close()
	t.mutex.Lock()
	if t.users.names == nil {
		t.refreshUsers()
	}
	t.mutex.Unlock()
	found, err := t.remember(&r, dir, pid)
	t.count(err)
	if found == nil {
		return Identity{}, fmt.Errorf("naming process %d: %w", pid, err)
	}
	return found.identity, nil
}

// User returns the host's name for a uid, or the number where it has none.
func (t *Table) User(uid uint32) string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.users.names == nil {
		t.refreshUsers()
	}
	return t.users.name(uid)
}

// Counts returns what could not be read since the table began, by cause: a
// process counts once at each scan.
func (t *Table) Counts() map[string]uint64 {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	counts := map[string]uint64{}
	for _, cause := range Causes() {
		counts[cause] = t.counts[cause]
	}
	return counts
}

func (t *Table) count(err error) {
	if err == nil {
		return
	}
	cause := CauseUnreadable
	switch {
	case procdir.Gone(err):
		cause = CauseGone
	case procdir.Denied(err):
		cause = CauseDenied
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.counts == nil {
		t.counts = map[string]uint64{}
	}
	t.counts[cause]++
}
