package socket

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// manySockets of TCP make it worth while to ask a namespace for its range.
const manySockets = 1000

// flagEphemeral marks the UDP listeners on ports that their namespace gave out
// by itself. Each namespace has its own range, which only a thread inside can
// see: what cannot be entered, or has nothing to flag and few TCP sockets, is taken
// to have the range of the reader's.
func (r *Reader) flagEphemeral(proc procdir.Dir, table *Table) {
	buffers := &r.tables.buffers
	own, err := portRange(buffers, proc)
	assumed := err != nil
	if assumed {
		own = kernelRange
	}
	ownInode := uint64(0)
	if link, err := buffers.Readlink(proc, "thread-self/ns/net"); err == nil {
		ownInode, _ = procdir.Inode(link, "net")
	}
	// The rows of a namespace lie together.
	for rest := table.Rows; len(rest) > 0; {
		ns := find(table.Seen, rest[0].Netns)
		end := slices.IndexFunc(rest, func(row Row) bool { return row.Netns != ns.Inode })
		if end < 0 {
			end = len(rest)
		}
		rows := rest[:end]
		rest = rest[end:]
		if ns.Ephemeral == (PortRange{}) {
			ns.Ephemeral, ns.EphemeralAssumed = own, assumed
			if ns.Inode != ownInode {
				ns.EphemeralAssumed = true
				if len(rows) >= manySockets || slices.ContainsFunc(rows, func(row Row) bool { return row.IsUDPListener() }) {
					ns.Ephemeral, ns.EphemeralAssumed = r.foreignRange(proc, ns.Inode, own)
				}
			}
		}
		for i := range rows {
			rows[i].Ephemeral = rows[i].IsUDPListener() && ns.Ephemeral.Has(rows[i].Local.Port())
		}
	}
}

// find looks in a list that is sorted by inode, and has it.
func find(seen []Namespace, inode uint64) *Namespace {
	i, _ := slices.BinarySearchFunc(seen, inode, func(ns Namespace, inode uint64) int { return cmp.Compare(ns.Inode, inode) })
	return &seen[i]
}

// foreignRange asks inside a namespace, which is reached as its tables were.
func (r *Reader) foreignRange(proc procdir.Dir, inode uint64, own PortRange) (ports PortRange, assumed bool) {
	i, known := r.walk.index[inode]
	if !known {
		return own, true
	}
	for _, task := range r.walk.found[i].tasks {
		dir, err := openTask(&r.tables.buffers, proc, task)
		if err != nil {
			continue
		}
		fd, err := r.tables.buffers.OpenFile(dir, "ns/net", 0)
		dir.Close()
		if err != nil {
			continue
		}
		err = enter(fd, func() (err error) {
			ports, err = portRange(&r.tables.buffers, proc)
			return err
		})
		unix.Close(fd)
		if err == nil {
			return ports, false
		}
	}
	return own, true
}
