package sensor

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/netview-project/netview/sensor/socket"
)

// sights remembers when each connection was first seen. Times are of the boot clock.
type sights struct {
	interval time.Duration // between two heartbeats
	now      time.Duration
	previous time.Duration            // the snapshot before, 0 if there was none
	read     map[uint64]time.Duration // when each namespace was last read, 0 for never
	gap      map[uint64]bool          // namespaces in which a first sight tells nothing now
	seen     map[ends]sight
	next     map[ends]sight // what seen will be
}

// ends of a connection and the inode of its socket are what it is known by
// without eBPF.
type ends struct {
	netns         uint64
	local, remote netip.AddrPort
}

type sight struct {
	inode uint64
	first time.Duration // 0 where it tells nothing
	// missed: it was not in the last snapshot. A table that changes while it is
	// read can miss a socket, and a namespace may be unreadable for once.
	missed bool
}

// of reports whether a socket with the same ends is the one that was seen. One
// that waits for accept, or that its process has closed, has no inode: it is
// the same that had one before or gets one after.
func (s sight) of(inode uint64) bool {
	return inode != 0 && s.inode == inode || !s.missed && (inode == 0 || s.inode == 0)
}

// begin a snapshot.
func (s *sights) begin(now time.Duration, namespaces []socket.Namespace) {
	s.now, s.gap = now, make(map[uint64]bool, len(namespaces))
	if s.next == nil {
		s.next = map[ends]sight{}
	}
	read := make(map[uint64]time.Duration, len(namespaces))
	for _, ns := range namespaces {
		last, known := s.read[ns.Inode]
		read[ns.Inode] = last
		if !known {
			last = s.previous // it is new since then
		}
		s.gap[ns.Inode] = last == 0 || now-last > 2*s.interval
		if ns.Missing == "" {
			read[ns.Inode] = now
		}
	}
	s.read = read
}

// age is the time since a connection was first seen, unknown where first sight
// followed the sensor's start or a gap.
func (s *sights) age(row *socket.Row) (age time.Duration, known bool) {
	key := ends{row.Netns, row.Local, row.Remote}
	is, before := s.seen[key]
	switch {
	case before && is.of(row.Inode):
		is.inode, is.missed = cmp.Or(row.Inode, is.inode), false
	case s.gap[row.Netns]:
		is = sight{inode: row.Inode}
	default:
		is = sight{inode: row.Inode, first: s.now}
	}
	s.next[key] = is
	return s.now - is.first, is.first != 0
}

// end a snapshot.
func (s *sights) end() {
	for key, is := range s.seen {
		if _, again := s.next[key]; !again && !is.missed {
			is.missed = true
			s.next[key] = is
		}
	}
	s.seen, s.next = s.next, s.seen
	clear(s.next)
	s.previous = s.now
}
