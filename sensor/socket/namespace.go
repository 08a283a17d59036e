package socket

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// Holder is what keeps a network namespace alive.
type Holder uint8

// The holders that are looked for. A namespace held only by an open descriptor
// or by a socket is not seen.
const (
	// HeldByTask: a thread lives in the namespace.
	HeldByTask Holder = iota
	// HeldByMount: no thread does, but a bind mount holds it, like those of
	// "ip netns add".
	HeldByMount
)

// String is task or mount.
func (h Holder) String() string {
	if h == HeldByMount {
		return "mount"
	}
	return "task"
}

// Namespace is a network namespace that a read saw.
type Namespace struct {
	// Inode of its nsfs file, as in net:[4026531840].
	Inode  uint64
	Holder Holder
	// Missing is why its sockets are not in the table; empty when they are.
	Missing Cause
	// Cookies says that its TCP rows have a [Row.Cookie].
	Cookies bool
	// Accepts are its counters of connections that listeners did not get.
	Accepts Accepts
	// Ephemeral is the range from which it gives out ports by itself. It is
	// that of the reader's namespace where EphemeralAssumed says so: without
	// CAP_SYS_ADMIN no other can be asked, and only one with UDP listeners or
	// many TCP sockets is. It is zero in a namespace without sockets.
	Ephemeral        PortRange
	EphemeralAssumed bool
}

// few is how many ways into a namespace are remembered: enough that losing the
// race against one that ends costs nothing.
const few = 8

// task is a thread, as /proc/PID/task/TID.
type task struct{ pid, tid uint32 }

// mount is a bind mount of a namespace, as seen from the root of a process.
type mount struct {
	pid  uint32
	path string
}

// ways are the ways into one namespace.
type ways struct {
	inode  uint64
	tasks  []task
	mounts []mount
}

// walk finds every network namespace that a thread lives in or a mount holds,
// and the ways into it. Its memory is reused.
type walk struct {
	denied  []uint32 // processes that may not be looked at
	buffers procdir.Buffers
	pids    []uint32
	tids    []uint32
	found   []ways
	index   map[uint64]int
	mounts  map[uint64]struct{} // mount namespaces that were read
}

// namespaces looks at all processes. Processes that end meanwhile are no loss.
func (w *walk) namespaces(proc procdir.Dir) (err error) {
	w.reset()
	if w.pids, err = w.buffers.AppendNumbers(w.pids[:0], proc); err != nil {
		return err
	}
	for _, pid := range w.pids {
		process, err := w.buffers.OpenNumber(proc, pid)
		if err == nil {
			err = w.process(process, pid)
			process.Close()
		}
		if procdir.Denied(err) {
			w.denied = append(w.denied, pid)
		}
	}
	return nil
}

func (w *walk) reset() {
	if w.index == nil {
		w.index, w.mounts = map[uint64]int{}, map[uint64]struct{}{}
	}
	clear(w.index)
	clear(w.mounts)
	w.found, w.denied = w.found[:0], w.denied[:0]
}

// at returns the entry of a namespace, with the memory of one of an earlier walk.
func (w *walk) at(inode uint64) *ways {
	i, known := w.index[inode]
	if !known {
		i = len(w.found)
		w.index[inode] = i
		if i < cap(w.found) {
			w.found = w.found[:i+1]
		} else {
			w.found = append(w.found, ways{})
		}
		ns := &w.found[i]
		ns.inode, ns.tasks, ns.mounts = inode, ns.tasks[:0], ns.mounts[:0]
	}
	return &w.found[i]
}

func (w *walk) process(dir procdir.Dir, pid uint32) error {
	var err error
	w.tids = append(w.tids[:0], pid)
	if !w.singleThreaded(dir) {
		if w.tids, err = w.threads(dir); err != nil {
			return err
		}
	}
	for _, tid := range w.tids {
		link, linkErr := w.buffers.ReadlinkNumber(dir, "task/", tid, "/ns/net")
		if linkErr != nil {
			err = linkErr
			continue
		}
		inode, ok := procdir.Inode(link, "net")
		if !ok {
			continue
		}
		if ns := w.at(inode); len(ns.tasks) < few {
			ns.tasks = append(ns.tasks, task{pid, tid})
		}
	}
	// Mount namespaces differ in what they mount: each is read once.
	link, mountErr := w.buffers.Readlink(dir, "ns/mnt")
	if mountErr != nil {
		return err
	}
	inode, ok := procdir.Inode(link, "mnt")
	if _, known := w.mounts[inode]; known || !ok {
		return err
	}
	if text, mountErr := w.buffers.ReadFile(dir, "mountinfo"); mountErr == nil {
		w.mounts[inode] = struct{}{}
		heldByMounts(text, func(inode uint64, path []byte) {
			if ns := w.at(inode); len(ns.mounts) < few {
				ns.mounts = append(ns.mounts, mount{pid, string(path)})
			}
		})
	}
	return err
}

// singleThreaded spares most processes the listing of their threads: the link
// count of /proc/PID/task is two and one for each thread (fs/proc/base.c
// proc_task_getattr).
func (w *walk) singleThreaded(dir procdir.Dir) bool {
	var stat unix.Stat_t
	err := unix.Fstatat(int(dir), "task", &stat, 0)
	return err == nil && stat.Nlink == 3
}

func (w *walk) threads(dir procdir.Dir) ([]uint32, error) {
	tasks, err := w.buffers.OpenDir(dir, "task")
	if err != nil {
		return w.tids[:0], err
	}
	defer tasks.Close()
	return w.buffers.AppendNumbers(w.tids[:0], tasks)
}

// openMounted opens the file that holds a namespace, and makes sure that it
// still does. The path belongs to the process, which may be anyone's: it is
// followed as that process would, and whatever else lies there is not touched
// any further.
func openMounted(proc procdir.Dir, at mount, inode uint64) (fd int, err error) {
	root, err := unix.Openat(int(proc), fmt.Sprintf("%d/root", at.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening the root of process %d: %w", at.pid, err)
	}
	defer unix.Close(root)
	// A pipe in its place must not block.
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	relative := "." + at.path
	fd, err = unix.Openat2(root, relative, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err == unix.ENOSYS { // before Linux 5.6
		fd, err = unix.Openat(root, relative, flags|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("opening %.200q in the root of process %d: %w", at.path, at.pid, err)
	}
	if is, found := netnsFile(fd); !is || found != inode {
		unix.Close(fd)
		return -1, errMoved
	}
	return fd, nil
}
