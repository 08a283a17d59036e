package flow

import (
	"net/netip"
	"time"

	"github.com/netview-project/netview/event"
)

// Role is what a process of this host did for a connection.
type Role uint8

// The roles.
const (
	// Unknown: the connection is older than the sensor.
	Unknown Role = iota
	// Connected: the process opened it.
	Connected
	// Accepted: the process took it from a listener.
	Accepted
	// Listened: it is older, and its local port is listened on.
	Listened
	// Reached: it is older, and its remote port is listened on, on this host.
	Reached
)

// Direction is the direction that the role stands for, and how it is known:
// values of event.Connection. The source is empty where the role is unknown.
func (r Role) Direction() (direction, source string) {
	switch r {
	case Connected:
		return event.DirectionOutbound, event.SourceConnect
	case Accepted:
		return event.DirectionInbound, event.SourceAccept
	case Listened:
		return event.DirectionInbound, event.SourceListeningPort
	case Reached:
		return event.DirectionOutbound, event.SourceListeningPort
	}
	return event.DirectionUnknown, ""
}

// known reports whether a call told the role.
func (r Role) known() bool { return r == Connected || r == Accepted }

// Socket is the end of a connection on this host.
type Socket struct {
	// ID is the socket's cookie: no other socket has it until the host restarts,
	// even one with the same ends, inode and process.
	ID            uint64
	Netns         uint64 // inode
	Local, Remote netip.AddrPort
	Role          Role
	// Start on the boot clock; 0 where it is not known.
	Start time.Duration
	// Process that connected or accepted; shared, and never changed.
	Process *event.Process
	// RemoteName is a host name by which the process knows the other end.
	RemoteName string
}

// learn takes what is known better by another account of the same socket.
func (s *Socket) learn(other *Socket) {
	if other.Role.known() || s.Role == Unknown {
		s.Role = other.Role
	}
	if other.Start != 0 {
		s.Start = other.Start
	}
	if other.Process != nil {
		s.Process = other.Process
	}
	if other.RemoteName != "" {
		s.RemoteName = other.RemoteName
	}
}

// Counters of a connection.
type Counters struct {
	// Sent and Received are payload in bytes, without SYN and FIN; Sent as far as
	// the peer acknowledged it.
	Sent, Received uint64
	event.TCP
}

// Flow is a connection that lives.
type Flow struct {
	Socket
	// Counters as a socket table showed them last; Counted says that one did.
	Counters
	Counted bool
	// halfSince is when it was first seen with one side closed; 0 where it is not.
	halfSince time.Duration
	told      time.Duration // when something was last heard of it
	active    time.Duration // when something was last transferred, or it began
	table     int           // the last that showed it
	missed    bool          // in the last table
	syn       syn
}

// syn says whether the kernel counts a SYN of ours among the acknowledged bytes.
type syn uint8

const (
	synUnknown syn = iota
	synCounted
	synNotCounted
)

// HalfClosed reports whether the flow has been half-closed for 60 s at a time.
func (f *Flow) HalfClosed(now time.Duration) bool {
	return f.halfSince != 0 && now-f.halfSince >= halfClosedAfter
}

// halfClosedAfter is how long one side must have been closed alone: for a moment
// that is how every connection ends.
const halfClosedAfter = 60 * time.Second

// Ended is a flow that is complete.
type Ended struct {
	Socket
	Counters
	Counted bool
	// At is when it ended, or was found to have ended, on the boot clock.
	At time.Duration
	// Final and Detail are those of event.NetworkFlow.
	Final, Detail string
}

// Audit counts what the flows and the socket tables said differently. Its
// numbers only grow.
type Audit struct {
	// Adopted sockets had no flow: their beginning was missed. Those of the first
	// table are not counted: they are older than the sensor.
	Adopted uint64
	// Missed flows had no socket any more: their end was missed.
	Missed uint64
	// Evicted flows had to make room for others.
	Evicted uint64
	// Untracked sockets were not adopted for want of room, once at each table.
	Untracked uint64
}

// Totals count payload and segments sent again of all flows, from the moment the
// tracker first met each. They only grow.
type Totals struct {
	Sent, Received, Retransmits uint64
}

// Tracker follows connections. It does no I/O and looks at no clock: it is told
// what happens, in whatever order, twice or not at all, and gives each flow that
// is complete to ended, once.
type Tracker struct {
	flows map[uint64]*Flow
	limit int
	// free are flows that ended, to be used again.
	free []*Flow
	// gone are flows that ended a short while ago: what is told late of one must
	// not begin another.
	gone   recent
	ended  func(*Ended)
	now    Ended // what ended is given
	audit  Audit
	totals Totals
	tables int
}

// NewTracker returns a tracker of at most limit flows. ended must keep nothing of what it is given.
func NewTracker(limit int, ended func(*Ended)) *Tracker {
	return &Tracker{limit: limit, ended: ended, flows: map[uint64]*Flow{}}
}

// Len is the number of flows that live.
func (t *Tracker) Len() int { return len(t.flows) }

// Audit returns the counters.
func (t *Tracker) Audit() Audit { return t.audit }

// Totals returns the totals.
func (t *Tracker) Totals() Totals { return t.totals }

// count takes what was transferred between two accounts of a connection.
func (t *Tracker) count(before, now *Counters) {
	t.totals.Sent += now.Sent - min(now.Sent, before.Sent)
	t.totals.Received += now.Received - min(now.Received, before.Received)
	t.totals.Retransmits += now.Retransmits.Value - min(now.Retransmits.Value, before.Retransmits.Value)
}

// Find returns the flow of a socket, nil if there is none. It must not be changed.
func (t *Tracker) Find(id uint64) *Flow { return t.flows[id] }

// Unseen gives each flow that lives and that the last table did not show; it must
// not be changed.
func (t *Tracker) Unseen(yield func(*Flow) bool) {
	for _, f := range t.flows {
		if f.table != t.tables && !yield(f) {
			return
		}
	}
}

// Open is told that a process connected or accepted, at a time.
func (t *Tracker) Open(s *Socket, at time.Duration) {
	if s.ID == 0 || t.gone.has(s.ID) {
		return
	}
	f := t.Find(s.ID)
	if f == nil {
		if len(t.flows) >= t.limit {
			t.evict(at)
		}
		f = t.add(s, at)
	} else {
		f.learn(s)
	}
	f.told = max(f.told, at)
}

// add begins a flow.
func (t *Tracker) add(s *Socket, at time.Duration) *Flow {
	var f *Flow
	if last := len(t.free) - 1; last >= 0 {
		f, t.free = t.free[last], t.free[:last]
		*f = Flow{}
	} else {
		f = &Flow{}
	}
	f.Socket, f.active = *s, at
	t.flows[f.ID] = f
	return f
}

// remove takes a flow out, which may be used again from then on.
func (t *Tracker) remove(f *Flow) {
	delete(t.flows, f.ID)
	t.gone.add(f.ID)
	if len(t.free) < freeKept {
		t.free = append(t.free, f)
	}
}

// freeKept is how many flows are kept for use again.
const freeKept = 1 << 12

// evictedOf is how many flows are looked at to evict one: nearly always one of
// those that were idle for long.
const evictedOf = 32

// evict makes room for another.
func (t *Tracker) evict(at time.Duration) {
	var idle *Flow
	n := 0
	for _, f := range t.flows { // which begins anywhere
		if idle == nil || f.active < idle.active || f.active == idle.active && f.ID < idle.ID {
			idle = f
		}
		if n++; n == evictedOf {
			break
		}
	}
	if idle != nil {
		t.audit.Evicted++
		t.stale(idle, at, DetailEvicted)
	}
}

// stale completes a flow of which no end was told.
func (t *Tracker) stale(f *Flow, at time.Duration, detail string) {
	t.now = Ended{Socket: f.Socket, Counters: f.Counters, Counted: f.Counted, At: at, Final: event.FinalStale, Detail: detail}
	t.remove(f)
	t.ended(&t.now)
}

// Closing is the end of a connection that was established, as its socket tells it.
type Closing struct {
	Socket
	Counters
	// At is when, on the boot clock.
	At time.Duration
	// Before is the socket's state before (include/net/tcp_states.h), and Errno its
	// error, 0 for none.
	Before uint8
	Errno  uint32
	// FinReceived says that the peer has closed its side, HalfClosed that ours was
	// closed alone, by shutdown(2), and that the peer had not closed.
	FinReceived, HalfClosed bool
}

// Close is told that a connection has ended. What the socket says is completed
// by what is known of the flow.
func (t *Tracker) Close(c *Closing) {
	e := &t.now
	*e = Ended{Socket: c.Socket, Counters: c.Counters, Counted: true, At: c.At}
	half, before := c.HalfClosed, Counters{}
	if c.Start == 0 {
		before = c.Counters // it had them before the tracker was there, unless a table tells more
	}
	if c.ID != 0 {
		if t.gone.has(c.ID) {
			return
		}
		if f := t.Find(c.ID); f != nil {
			e.Socket = f.Socket
			e.learn(&c.Socket)
			half = half || !c.FinReceived && f.HalfClosed(c.At)
			before = f.Counters
			t.remove(f)
		} else {
			t.gone.add(c.ID)
		}
	}
	t.count(&before, &c.Counters)
	e.Final, e.Detail = end(c.Before, c.Errno, half)
	t.ended(e)
}
