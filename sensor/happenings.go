package sensor

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/bpf"
	"github.com/netview-project/netview/sensor/dns"
	"github.com/netview-project/netview/sensor/flow"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/process"
	"github.com/netview-project/netview/sensor/socket"
)

// happenings turns what the kernel tells into events, and follows the flows.
type happenings struct {
	resource event.Resource
	// identify names a process that runs now.
	identify func(pid uint32) (process.Identity, error)
	user     func(uid uint32) string
	// append takes events to the spool. It must keep nothing of them.
	append func([]event.Event)

	mutex sync.Mutex // of what follows
	// boot is what the boot clock has to gain to be the wall clock's time.
	boot  time.Time
	asked *simplelru.LRU[uint32, *answered] // by pid
	flows *flow.Tracker
	made  map[event.Kind]uint64
	outcomes
	// refused is the flow of an attempt that failed; it is used again.
	refused flow.Ended

	// events wait for the next append. Their memory, by kind, is used again by
	// those after it.
	events   []event.Event
	connects arena[event.NetworkConnect]
	accepts  arena[event.NetworkAccept]
	listens  arena[event.NetworkListen]
	ends     arena[event.NetworkFlow]
	lsm      arena[event.LSMNetConnect]
	naming
}

// arena gives places for events of one kind, and in time as many as are appended
// at once.
type arena[T any] struct{ places []T }

// next returns a place with a value, valid until the arena is emptied.
func (a *arena[T]) next(value T) *T {
	if len(a.places) == cap(a.places) { // those that were given stay where they are
		a.places = make([]T, 0, max(16, 2*cap(a.places)))
	}
	a.places = append(a.places, value)
	return &a.places[len(a.places)-1]
}

func (a *arena[T]) empty() { a.places = a.places[:0] }

// mostFlows is how many flows are followed at a time: as many as the kernel's map
// of owners has room for (sensor/bpf/owner.h).
const mostFlows = 1 << 18

func newHappenings(resource event.Resource, processes *process.Table, append func([]event.Event)) *happenings {
	asked, err := simplelru.NewLRU[uint32, *answered](answersKept, nil)
	if err != nil {
		panic(err) // of a size below 1
	}
	h := &happenings{resource: resource, identify: processes.Process, user: processes.User, append: append, asked: asked, made: map[event.Kind]uint64{}, outcomes: newOutcomes()}
	for _, kind := range []event.Kind{event.KindNetworkConnect, event.KindNetworkAccept, event.KindNetworkListen, event.KindNetworkFlow, event.KindLSMNetConnect,
		event.KindDNSQuery, event.KindDNSLookup, event.KindDNSResolution} {
		h.made[kind] = 0
	}
	h.flows = flow.NewTracker(mostFlows, h.ended)
	h.naming = newNaming(h.queried)
	h.setClock()
	return h
}

// setClock relates the boot clock to the wall clock, which may have been set.
func (h *happenings) setClock() { h.boot = time.Now().Add(-bootClock()) }

// answered is a process as it was a moment ago.
type answered struct {
	identity process.Identity
	at       time.Duration // on the boot clock
	// process is what was made of it last, for a user.
	process *event.Process
	uid     uint32
}

// How long an answer about a process holds while its name stays, how many are
// remembered, and how many events are appended at once.
const (
	answerHolds     = time.Second
	answersKept     = 4096
	eventsPerAppend = 1000
)

// take turns one record into events. It keeps nothing of it.
func (h *happenings) take(e *probe.Event) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	switch e.Type {
	case bpf.StateNvTypeNV_CONNECT:
		h.connect(e)
	case bpf.StateNvTypeNV_ACCEPT:
		s := h.socket(e)
		h.flows.Open(&s, time.Duration(e.Time))
		h.make(h.accepts.next(event.NetworkAccept{Envelope: h.envelope(e.Time), Ends: endsOf(&s, event.TransportTCP), Process: *s.Process, ConnectionID: connectionID(s.ID)}))
	case bpf.StateNvTypeNV_CLOSE:
		h.flows.Close(&flow.Closing{Socket: h.socket(e), Counters: countersOf(e), At: time.Duration(e.Time),
			Before: e.OldState, Errno: e.Error, FinReceived: e.FinReceived != 0, HalfClosed: e.HalfClosed != 0})
	case bpf.StateNvTypeNV_LISTEN:
		s := h.socket(e)
		h.make(h.listens.next(event.NetworkListen{Envelope: h.envelope(e.Time), Target: targetOf(&s, transportOf(e), s.Local), Backlog: event.Some(uint64(e.Backlog)), Process: *s.Process, ConnectionID: connectionID(s.ID)}))
	case bpf.StateNvTypeNV_LSM_CONNECT:
		s := h.socket(e)
		h.make(h.lsm.next(event.LSMNetConnect{Envelope: h.envelope(e.Time), Target: targetOf(&s, transportOf(e), s.Remote), Process: *s.Process, ConnectionID: connectionID(s.ID)}))
	}
}

// make keeps an event until the next append.
func (h *happenings) make(e event.Event) {
	h.made[e.Kind()]++
	h.events = append(h.events, e)
	if len(h.events) >= eventsPerAppend {
		h.appendAll()
	}
}

func (h *happenings) appendAll() {
	if len(h.events) == 0 {
		return
	}
	h.append(h.events)
	h.events = h.events[:0]
	h.connects.empty()
	h.accepts.empty()
	h.listens.empty()
	h.ends.empty()
	h.lsm.empty()
	h.naming.empty()
}

// flush appends what was gathered, after a look at all that the kernel had told.
func (h *happenings) flush() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.naming.tick()
	h.appendAll()
	h.setClock()
}

// end appends also what cannot be completed any more.
func (h *happenings) end() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.naming.tracker.Close(bootClock())
	h.appendAll()
}

func (h *happenings) connect(e *probe.Event) {
	s := h.socket(e)
	result := event.ResultOK
	if e.Error != 0 || e.OldState != 0 {
		result = flow.Result(e.Error)
	}
	began := e.Start
	if began == 0 { // it is older than the sensor
		began = e.Time
	}
	transport := transportOf(e)
	name, named := h.names.Find(s.Netns, s.Process.PID.Value, h.began(e), s.Remote.Addr(), time.Duration(began))
	s.RemoteName = name.Name
	c := event.NetworkConnect{Envelope: h.envelope(began), Ends: endsOf(&s, transport), Result: result, Process: *s.Process, RemoteName: name.Name, ConnectionID: connectionID(s.ID)}
	h.attempted(transport, result)
	h.make(h.connects.next(c))
	if named {
		h.resolved(&c, &name)
	}
	if session := dns.Session(&c); session != nil {
		h.counters.Query(session)
		h.make(h.queries.next(*session))
	}
	switch {
	case transport != event.TransportTCP:
	case result == event.ResultOK:
		h.flows.Open(&s, time.Duration(e.Time))
	default:
		h.refused = flow.Ended{Socket: s, Counted: true, At: time.Duration(e.Time), Final: event.FinalRefused, Detail: result}
		h.ended(&h.refused)
	}
}

// ended makes the event of a flow that is complete.
func (h *happenings) ended(e *flow.Ended) {
	f := h.ends.next(event.NetworkFlow{Envelope: h.envelope(uint64(e.At)), Ends: endsOf(&e.Socket, event.TransportTCP), FinalState: e.Final, FinalDetail: e.Detail, TCP: e.TCP, RemoteName: e.RemoteName, ConnectionID: connectionID(e.ID)})
	f.Direction, f.DirectionSource = e.Role.Direction()
	if e.Counted {
		f.BytesSent, f.BytesReceived = event.Some(e.Sent), event.Some(e.Received)
	}
	if e.Process != nil {
		f.Process = *e.Process
	}
	// A beginning after the end would be the kernel's mistake, and no duration.
	if lasted := e.At - e.Start; e.Start != 0 && lasted >= 0 && lasted <= event.LongestDuration {
		f.Duration, f.DurationSource = event.Some(lasted.Round(time.Microsecond)), f.DirectionSource
	}
	h.finished(e.Final, e.Detail)
	h.make(f)
}

// compare the flows with the socket tables that were begun to be read at a time,
// and return those that live: first those of the tables, in their order. It has
// the memory of an earlier list for it.
func (h *happenings) compare(began time.Duration, namespaces []socket.Namespace, rows func(see func(*flow.Sighting)), list []flow.Flow) []flow.Flow {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	unread := map[uint64]bool{}
	for _, ns := range namespaces {
		unread[ns.Inode] = !ns.Cookies && ns.Missing != socket.CauseNamespaceGone
	}
	list = list[:0]
	h.flows.Table(began, func(see func(*flow.Sighting) *flow.Flow) {
		rows(func(s *flow.Sighting) {
			if f := see(s); f != nil && (len(list) == 0 || list[len(list)-1].ID != f.ID) {
				list = append(list, *f)
			}
		})
	}, func(netns uint64) bool { return unread[netns] })
	seen := len(list)
	for f := range h.flows.Unseen {
		list = append(list, *f)
	}
	slices.SortFunc(list[seen:], func(a, b flow.Flow) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// state of what was told.
func (h *happenings) state() *event.Kernel {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	audit, totals := h.flows.Audit(), h.flows.Totals()
	k := &event.Kernel{Events: maps.Clone(h.made), BytesSent: totals.Sent, BytesReceived: totals.Received, Retransmits: totals.Retransmits,
		Connects: maps.Clone(h.attempts), Ended: maps.Clone(h.finishes),
		Audit: map[string]uint64{"adopted": audit.Adopted, "missed_close": audit.Missed, "evicted": audit.Evicted, "untracked": audit.Untracked}}
	if h.told {
		k.DNS = h.counters.State()
	}
	return k
}

// lost counts what the kernel told and could not be followed, by cause.
func (h *happenings) lost() map[string]uint64 {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.tracker.Lost()
}

// socket of an event.
func (h *happenings) socket(e *probe.Event) flow.Socket {
	s := flow.Socket{ID: e.Cookie, Netns: uint64(e.Netns), Start: time.Duration(e.Start), Process: h.process(e),
		Local: netip.AddrPortFrom(address(e.Family, e.Local), e.LocalPort), Remote: netip.AddrPortFrom(address(e.Family, e.Remote), e.RemotePort)}
	switch e.Role {
	case bpf.StateNvRoleNV_CONNECTED:
		s.Role = flow.Connected
	case bpf.StateNvRoleNV_ACCEPTED:
		s.Role = flow.Accepted
	}
	return s
}

func countersOf(e *probe.Event) flow.Counters {
	return flow.Counters{Sent: e.BytesSent, Received: e.BytesReceived, TCP: tcpOf(e.SrttUs>>3, e.Retransmits)}
}

// tcpOf takes a round-trip time in µs.
func tcpOf(rtt, retransmits uint32) event.TCP {
	tcp := event.TCP{Retransmits: event.Some(uint64(retransmits))}
	if rtt != 0 {
		tcp.RTT = event.Some(time.Duration(rtt) * time.Microsecond)
	}
	return tcp
}

func transportOf(e *probe.Event) string {
	if e.Protocol == probe.ProtocolUDP {
		return event.TransportUDP
	}
	return event.TransportTCP
}

// connectionID is that of a cookie; 0 is none.
func connectionID(cookie uint64) event.Optional[uint64] {
	return event.Optional[uint64]{Value: cookie, Known: cookie != 0}
}

// envelope of something that happened at a time of the boot clock.
func (h *happenings) envelope(ns uint64) event.Envelope {
	return event.Envelope{Resource: h.resource, Timestamp: h.boot.Add(time.Duration(ns)).UTC().Truncate(time.Microsecond)}
}

// endsOf puts the side that opened the connection first.
func endsOf(s *flow.Socket, transport string) event.Ends {
	source, destination := s.Local, s.Remote
	if direction, _ := s.Role.Direction(); direction == event.DirectionInbound {
		source, destination = destination, source
	}
	return event.Ends{Netns: s.Netns, Transport: transport, Family: familyOf(s.Remote.Addr()), SourceAddress: source.Addr(), SourcePort: source.Port(),
		DestinationAddress: destination.Addr(), DestinationPort: destination.Port()}
}

func targetOf(s *flow.Socket, transport string, to netip.AddrPort) event.Target {
	return event.Target{Netns: s.Netns, Transport: transport, Family: familyOf(to.Addr()), DestinationAddress: to.Addr(), DestinationPort: to.Port()}
}

func familyOf(a netip.Addr) string {
	if a.Is6() {
		return "ipv6"
	}
	return "ipv4"
}

func address(family uint16, bytes [16]uint8) netip.Addr {
	if family == probe.FamilyIPv4 {
		return netip.AddrFrom4([4]byte(bytes[:4]))
	}
	return netip.AddrFrom16(bytes).Unmap()
}

// nobody is the process of what the kernel does itself, or of what is not known.
var nobody = &event.Process{}

// process that owns the socket; nil in a flow's end where it is not known.
func (h *happenings) process(e *probe.Event) *event.Process {
	if e.Tgid == 0 {
		if e.Type == bpf.StateNvTypeNV_CLOSE {
			return nil
		}
		return nobody
	}
	return h.processOf(e.Tgid, e.Uid, probe.Comm(e), owned(e))
}

// owned is a time at which the socket was the process's.
func owned(e *probe.Event) time.Duration {
	if e.Start != 0 {
		return time.Duration(e.Start)
	}
	return time.Duration(e.Time)
}

// began is when the process that owns the socket did. One that had ended before
// anything could be known of it has done all that is told of it since the look before.
func (h *happenings) began(e *probe.Event) time.Duration {
	if e.Tgid == 0 { // the kernel's own
		return 0
	}
	if a := h.answer(e.Tgid, probe.Comm(e), owned(e)); a != nil {
		return a.identity.StartTime
	}
	return owned(e) - answerHolds
}

// processOf the kernel's words, at a time. What has ended by now has at least the
// name and the user that these have.
func (h *happenings) processOf(pid, uid uint32, name []byte, at time.Duration) *event.Process {
	a := h.answer(pid, name, at)
	if a != nil && a.process != nil && a.uid == uid && a.process.Name == string(name) {
		return a.process
	}
	p := &event.Process{PID: event.Some(pid), Name: string(name), User: h.user(uid)}
	if a != nil {
		p.Binary, p.ContainerID, p.CommandLine = a.identity.Binary, a.identity.ContainerID, a.identity.CommandLine
		a.process, a.uid = p, uid
	}
	return p
}

// answer is about the process that had a pid and a name at a time; nil where nothing
// is known of it. One that has ended, or has become another program since, is known
// as far as it was met before.
func (h *happenings) answer(pid uint32, name []byte, at time.Duration) *answered {
	now := bootClock()
	a, known := h.asked.Get(pid)
	if !known || now-a.at > answerHolds || a.identity.Name != string(name) {
		fresh, err := h.identify(pid)
		switch {
		case err != nil && fresh.PID == 0:
			if !known {
				return nil
			}
		case known && a.identity.Name == string(name) && a.identity.StartTime == fresh.StartTime && fresh.Name != string(name): // by exec
		default:
			a = &answered{identity: fresh, at: now}
			h.asked.Add(pid, a)
		}
	}
	if a.identity.StartTime > at { // the pid has gone to another
		return nil
	}
	return a
}
