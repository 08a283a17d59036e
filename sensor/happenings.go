package sensor

import (
	"net/netip"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/bpf"
	"github.com/netview-project/netview/sensor/flow"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/process"
)

// happenings turns what the kernel tells into events. Its methods are called by
// one goroutine.
type happenings struct {
	resource event.Resource
	// identify names a process that runs now.
	identify func(pid uint32) (process.Identity, error)
	user     func(uid uint32) string
	// append takes events to the spool.
	append func([]event.Event)

	// boot is what the boot clock has to gain to be the wall clock's time.
	boot   time.Time
	asked  *simplelru.LRU[uint32, answered] // by pid
	events []event.Event
}

func newHappenings(resource event.Resource, processes *process.Table, append func([]event.Event)) *happenings {
	asked, err := simplelru.NewLRU[uint32, answered](answersKept, nil)
	if err != nil {
		panic(err) // of a size below 1
	}
	h := &happenings{resource: resource, identify: processes.Process, user: processes.User, append: append, asked: asked}
	h.setClock()
	return h
}

// setClock relates the boot clock to the wall clock, which may have been set.
func (h *happenings) setClock() { h.boot = time.Now().Add(-bootClock()) }

// answered is a process as it was a moment ago.
type answered struct {
	identity process.Identity
	at       time.Duration // on the boot clock
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
	switch e.Type {
	case bpf.StateNvTypeNV_CONNECT:
		h.connect(e)
	case bpf.StateNvTypeNV_ACCEPT:
		h.events = append(h.events, &event.NetworkAccept{Envelope: h.envelope(e.Time), Ends: endsOf(e), Process: h.process(e)})
	case bpf.StateNvTypeNV_CLOSE:
		final, detail := flow.End(e.OldState, e.Error)
		h.flow(e, h.process(e), final, detail)
	}
	if len(h.events) >= eventsPerAppend {
		h.flush()
	}
}

// flush appends what was gathered.
func (h *happenings) flush() {
	if len(h.events) > 0 {
		h.append(h.events)
		h.events = nil // the spool keeps them
	}
	h.setClock()
}

func (h *happenings) connect(e *probe.Event) {
	p := h.process(e)
	result := event.ResultOK
	if e.Error != 0 || e.OldState != 0 {
		result = flow.Result(e.Error)
	}
	h.events = append(h.events, &event.NetworkConnect{Envelope: h.envelope(e.Start), Ends: endsOf(e), Result: result, Process: p})
	if result != event.ResultOK {
		h.flow(e, p, event.FinalRefused, result)
	}
}

func (h *happenings) flow(e *probe.Event, p event.Process, final, detail string) {
	f := &event.NetworkFlow{Envelope: h.envelope(e.Time), Ends: endsOf(e), Direction: event.DirectionUnknown,
		BytesSent: e.BytesSent, BytesReceived: e.BytesReceived, FinalState: final, FinalDetail: detail, Process: p}
	switch e.Role {
	case bpf.StateNvRoleNV_CONNECTED:
		f.Direction, f.DirectionSource = event.DirectionOutbound, event.SourceConnect
	case bpf.StateNvRoleNV_ACCEPTED:
		f.Direction, f.DirectionSource = event.DirectionInbound, event.SourceAccept
	}
	if e.Start != 0 {
		f.Duration, f.DurationSource = event.Some(time.Duration(e.Time-e.Start).Round(time.Microsecond)), f.DirectionSource
	}
	h.events = append(h.events, f)
}

// envelope of something that happened at a time of the boot clock.
func (h *happenings) envelope(ns uint64) event.Envelope {
	return event.Envelope{Resource: h.resource, Timestamp: h.boot.Add(time.Duration(ns)).UTC().Truncate(time.Microsecond)}
}

// endsOf puts the side that opened the connection first.
func endsOf(e *probe.Event) event.Ends {
	local, remote := address(e.Family, e.Local), address(e.Family, e.Remote)
	both := event.Ends{Netns: uint64(e.Netns), Transport: event.TransportTCP, Family: "ipv4", SourceAddress: local, SourcePort: e.LocalPort, DestinationAddress: remote, DestinationPort: e.RemotePort}
	if e.Role == bpf.StateNvRoleNV_ACCEPTED {
		both.SourceAddress, both.SourcePort, both.DestinationAddress, both.DestinationPort = remote, e.RemotePort, local, e.LocalPort
	}
	if remote.Is6() {
		both.Family = "ipv6"
	}
	return both
}

func address(family uint16, bytes [16]uint8) netip.Addr {
	if family == probe.FamilyIPv4 {
		return netip.AddrFrom4([4]byte(bytes[:4]))
	}
	return netip.AddrFrom16(bytes).Unmap()
}

// process that owns the socket. What has ended by now has at least the name and
// the user that the kernel told.
func (h *happenings) process(e *probe.Event) event.Process {
	if e.Tgid == 0 {
		return event.Process{}
	}
	p := event.Process{PID: event.Some(e.Tgid), Name: probe.Comm(e), User: h.user(e.Uid)}
	if identity, known := h.identity(e, p.Name); known {
		p.Binary, p.ContainerID, p.CommandLine = identity.Binary, identity.ContainerID, identity.CommandLine
	}
	return p
}

// identity of the process of an event. One that has ended, or has become another
// program since, is known as far as it was met before.
func (h *happenings) identity(e *probe.Event, name string) (process.Identity, bool) {
	now := bootClock()
	a, known := h.asked.Get(e.Tgid)
	if !known || now-a.at > answerHolds || a.identity.Name != name {
		fresh, err := h.identify(e.Tgid)
		switch {
		case err != nil && fresh.PID == 0:
			if !known {
				return process.Identity{}, false
			}
		case known && a.identity.Name == name && a.identity.StartTime == fresh.StartTime && fresh.Name != name: // by exec
		default:
			a = answered{fresh, now}
			h.asked.Add(e.Tgid, a)
		}
	}
	// The pid may have gone to another.
	owned := e.Time
	if e.Start != 0 {
		owned = e.Start
	}
	return a.identity, a.identity.StartTime <= time.Duration(owned)
}
