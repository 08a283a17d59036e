package socket

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// tables reads the socket tables of one namespace at a time. Its memory is
// reused.
type tables struct {
	buffers  procdir.Buffers
	buffer   []byte
	rows     []Row
	seen     map[socketKey]struct{}
	inode    uint64
	faults   []fault
	readable int // tables that were read to their end
	// noDiag is why sock_diag did not give the TCP sockets; nil where it did.
	noDiag  error
	accepts Accepts
}

// fault is something that was lost in a namespace. Those of a namespace that
// is read again, by another way, do not count.
type fault struct {
	cause Cause
	text  string
}

// socketKey tells a socket from others in one namespace.
type socketKey struct {
	protocol      Protocol
	inode         uint64
	local, remote netip.AddrPort
}

// errMoved says that a task left the namespace, or ended, while it was read.
var errMoved = errors.New("nothing leads into the network namespace any more")

var files = [...]struct {
	name     string
	protocol Protocol
	// optional: a kernel without IPv6 has no such file.
	optional bool
}{{"net/tcp", TCP, false}, {"net/tcp6", TCP, true}, {"net/udp", UDP, false}, {"net/udp6", UDP, true}}

// filesBesideDiag are the files that are read where sock_diag gave all of TCP.
// Those of UDP cost little: their hash tables are small.
var filesBesideDiag = files[2:]

// read reads all sockets of the namespace below a directory, such as
// /proc/PID/task/TID, which must live in the namespace of the inode. A table
// that cannot be read costs itself alone, as long as there is another.
func (t *tables) read(dir procdir.Dir, inode uint64) error {
	t.begin(inode)
	files := files[:]
	switch t.noDiag = t.dump(dir); {
	case t.noDiag == nil:
		t.readable, files = t.readable+1, filesBesideDiag
	case errors.Is(t.noDiag, errMoved):
		return errMoved
	}
	var last error
	for _, file := range files {
		err := t.readFile(dir, file.name, file.protocol)
		switch {
		case err == nil:
			t.readable++
		case errors.Is(err, errMoved):
			return err
		case file.optional && errors.Is(err, unix.ENOENT):
		default:
			last = fmt.Errorf("reading %s of network namespace %d: %w", file.name, inode, err)
			t.faults = append(t.faults, fault{CauseTableUnreadable, last.Error()})
		}
	}
	if t.readable == 0 {
		if last == nil {
			last = errMoved
		}
		return last
	}
	t.accepts = t.readAccepts(dir)
	return nil
}

// begin forgets what was read.
func (t *tables) begin(inode uint64) {
	if t.buffer == nil {
		t.buffer, t.seen = make([]byte, 32<<10), map[socketKey]struct{}{}
	}
	clear(t.seen)
	t.rows, t.faults, t.inode, t.readable, t.accepts = t.rows[:0], t.faults[:0], inode, 0, Accepts{}
}

func (t *tables) readFile(dir procdir.Dir, name string, protocol Protocol) error {
	fd, err := t.buffers.OpenFile(dir, name, 0)
	if err != nil && procdir.Gone(err) && !t.livesHere(dir) {
		return errMoved
	}
	// EINVAL is what opening gives in a namespace that is being taken down.
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH) {
		return errMoved
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// The open file belongs to the namespace the task was in at that moment, so
	// the question is asked after opening.
	if !t.livesHere(dir) {
		return errMoved
	}
	begin := len(t.rows)
	if err := parse(descriptor(fd), protocol, t.buffer, t); err != nil {
		t.rows = t.rows[:begin]
		return err
	}
	return nil
}

func (t *tables) livesHere(dir procdir.Dir) bool {
	link, err := t.buffers.Readlink(dir, "ns/net")
	inode, ok := procdir.Inode(link, "net")
	return err == nil && ok && inode == t.inode
}

// row keeps a socket once. The kernel walks its hash table in several reads,
// and a change in between can show a socket twice. Sockets without an inode
// stay as they are: the kernel's own may share an address on purpose.
func (t *tables) row(row Row) {
	if row.Inode != 0 {
		key := socketKey{row.Protocol, row.Inode, row.Local, row.Remote}
		if _, twice := t.seen[key]; twice {
			return
		}
		t.seen[key] = struct{}{}
	}
	row.Netns = t.inode
	t.rows = append(t.rows, row)
}

func (t *tables) badRow(cause Cause, text []byte) {
	t.faults = append(t.faults, fault{cause, fmt.Sprintf("%.*q", longestText, text)})
}

// descriptor reads a file without the runtime's poller, which procfs has no
// use for.
type descriptor int

func (d descriptor) Read(into []byte) (int, error) {
	for {
		n, err := unix.Read(int(d), into)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}
