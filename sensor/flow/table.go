package flow

import (
	"time"

	"github.com/netview-project/netview/event"
)

// Sighting is a connection in a socket table.
type Sighting struct {
	Socket
	// State of the socket (include/net/tcp_states.h).
	State uint8
	// Held says that a file refers to the socket: it was accepted, and is not
	// closed by its process.
	Held bool
	// Acked and Received as the kernel counts them: with the SYN and the FIN of
	// this side, as far as they are acknowledged, and with the FIN of the other.
	Acked, Received uint64
	// Sent and Retransmitted are payload alone, in bytes.
	Sent, Retransmitted uint64
	// Unacked counts segments that are on their way.
	Unacked uint32
	event.TCP
}

// isFlow reports whether the socket is past connect or accept.
func (s *Sighting) isFlow() bool {
	switch s.State {
	case established, closeWait:
		return s.Held // else it waits for accept
	case finWait1, finWait2, lastAck, closing:
		return true
	}
	return false
}

// halfClosed reports whether one side is closed, and the other may still be used.
func (s *Sighting) halfClosed() bool {
	return s.State == closeWait || s.State == finWait2 && s.Held
}

// Table compares the flows with the socket tables of a host, which were begun to
// be read at a time of the boot clock, and what was told up to then is known.
// rows gives each connection in them, for which it gets the flow, or nil; unread reports the namespaces that could
// not be read, or not with the sockets' IDs.
//
// A socket without a flow is adopted; a flow without a socket in two tables, one
// after the other, has ended: a table that changes while it is read may miss one.
func (t *Tracker) Table(began time.Duration, rows func(see func(*Sighting) *Flow), unread func(netns uint64) bool) {
	t.tables++
	rows(func(s *Sighting) *Flow { return t.see(s, began) })
	for _, f := range t.flows {
		switch {
		case f.table == t.tables || f.told >= began || unread(f.Netns):
		case !f.missed:
			f.missed = true
		default:
			t.audit.Missed++
			t.stale(f, began, DetailMissedClose)
		}
	}
}

func (t *Tracker) see(s *Sighting, began time.Duration) *Flow {
	if s.ID == 0 {
		return nil
	}
	f := t.Find(s.ID)
	switch {
	case f != nil:
		f.learnIfUnknown(&s.Socket)
	case !s.isFlow() || t.gone.has(s.ID):
		return nil
	case len(t.flows) >= t.limit:
		t.audit.Untracked++
		return nil
	default:
		if t.tables > 1 {
			t.audit.Adopted++
		}
		f = t.add(&s.Socket, began)
		f.Start = 0
	}
	before := f.Counters
	f.count(s)
	if f.Start != 0 || f.table != 0 { // else it had them before
		t.count(&before, &f.Counters)
	}
	if f.Sent != before.Sent || f.Received != before.Received {
		f.active = began
	}
	switch {
	case !s.halfClosed():
		f.halfSince = 0
	case f.halfSince == 0:
		f.halfSince = began
	}
	f.table, f.missed = t.tables, false
	return f
}

// learnIfUnknown takes from a table what no call has told.
func (s *Socket) learnIfUnknown(table *Socket) {
	if s.Role == Unknown {
		s.Role = table.Role
	}
	if s.Process == nil {
		s.Process = table.Process
	}
}

// count takes the counters of a table.
func (f *Flow) count(s *Sighting) {
	var ours, theirs uint64 // SYN and FIN, which the kernel counts as a byte each
	switch s.State {
	case finWait2:
		ours = 1
	case closeWait, lastAck, closing:
		theirs = 1
	}
	switch {
	case f.Role == Connected:
		f.syn = synCounted
	case f.Role == Accepted:
		f.syn = synNotCounted
	case f.syn == synUnknown && s.Unacked == 0: // all that was sent is acknowledged
		f.syn = synNotCounted
		if s.Acked > s.Sent-s.Retransmitted+ours {
			f.syn = synCounted
		}
	}
	if f.syn == synCounted {
		ours++
	}
	f.Sent, f.Received = s.Acked-min(s.Acked, ours), s.Received-min(s.Received, theirs)
	f.TCP, f.Counted = s.TCP, true
}
