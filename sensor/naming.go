package sensor

import (
	"net/netip"
	"strings"
	"time"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/dns"
	"github.com/netview-project/netview/sensor/probe"
)

// naming is what happenings know of names: who asks for which, what is answered,
// and by which name a process knows an address.
type naming struct {
	tracker  *dns.Tracker
	names    *dns.Names
	counters *dns.Counters
	// told says that the kernel tells of queries or of lookups.
	told bool
	// dropped counts records that found no room on their way from the kernel; noticed is
	// what it was when it was asked last.
	dropped func() uint64
	noticed uint64

	// Memory of events that wait for the next append, as that of happenings.
	lists       dns.Lists
	queries     arena[event.DNSQuery]
	lookups     arena[event.DNSLookup]
	resolutions arena[event.DNSResolution]
	// Of the lookup that is taken.
	addresses []netip.Addr
	texts     []string
	learned   []dns.Address
}

func newNaming(queried func(*dns.Query)) naming {
	return naming{tracker: dns.NewTracker(dns.DefaultLimits(), queried), names: dns.NewNames(dns.DefaultNames), counters: dns.NewCounters(),
		dropped: func() uint64 { return 0 }}
}

// notice that records were dropped, which may have been answers.
func (n *naming) notice() {
	if dropped := n.dropped(); dropped != n.noticed {
		n.noticed = dropped
		n.tracker.Gap(bootClock())
	}
}

// tick gives up queries that have waited too long.
func (n *naming) tick() {
	n.notice()
	n.tracker.Tick(bootClock() - lookTakes)
}

// lookTakes bounds the time from the moment that something is told to the look at
// which it is taken.
const lookTakes = 100 * time.Millisecond

func (n *naming) empty() {
	n.lists.Empty()
	n.queries.empty()
	n.lookups.empty()
	n.resolutions.empty()
}

// takePacket takes what went between a process and a DNS server. It keeps nothing
// of it.
func (h *happenings) takePacket(p probe.Packet) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	packet := dns.Packet{At: time.Duration(p.Time), Socket: p.Cookie, Netns: uint64(p.Netns), Sent: p.Sent != 0, Transport: event.TransportTCP,
		Local: netip.AddrPortFrom(address(p.Family, p.Local), p.LocalPort), Remote: netip.AddrPortFrom(address(p.Family, p.Remote), p.RemotePort),
		Sequence: p.Sequence, Data: p.Payload, Length: int(p.Length)}
	if p.Protocol == probe.ProtocolUDP {
		packet.Transport = event.TransportUDP
		if p.Tgid != 0 {
			packet.Process = h.processOf(p.Tgid, p.Uid, p.Comm(), packet.At)
		}
	} else if f := h.flows.Find(p.Cookie); f != nil { // of TCP who connected is known
		packet.Process = f.Process
	}
	h.notice()
	h.tracker.Packet(&packet)
}

// queried makes the event of a query, and learns what its answer says.
func (h *happenings) queried(q *dns.Query) {
	e := h.queries.next(q.Event)
	e.Envelope = h.envelope(uint64(q.Began))
	h.lists.Keep(e)
	h.counters.Query(e)
	h.names.Learn(e.Netns, e.Process.PID.Value, e.Name, q.Addresses, event.NameFromAnswer, q.Ended)
	h.make(e)
}

// takeLookup takes a call of getaddrinfo in a library. It keeps nothing of it.
func (h *happenings) takeLookup(l *probe.Lookup, library string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	name, _ := l.Name()
	service, _ := l.ServiceName()
	h.addresses, h.texts, h.learned = l.AppendAddresses(h.addresses[:0]), h.texts[:0], h.learned[:0]
	for _, a := range h.addresses {
		h.texts, h.learned = append(h.texts, a.String()), append(h.learned, dns.Address{Address: a})
	}
	e := h.lookups.next(event.DNSLookup{Envelope: h.envelope(l.Start), Netns: uint64(l.Netns), Name: dns.HostName(readable(name)), Service: readable(service), Result: l.Outcome(),
		Latency: event.Some(l.Latency().Round(time.Microsecond)), Addresses: h.lists.Texts(h.texts), Library: library,
		Process: *h.processOf(l.Tgid, l.Uid, l.Process(), time.Duration(l.Start))})
	h.counters.Lookup(e)
	h.names.Learn(e.Netns, l.Tgid, e.Name, h.learned, event.NameFromLookup, time.Duration(l.Time))
	h.make(e)
}

// readable is text of a program as OTLP has it: UTF-8.
func readable(text []byte) string { return strings.ToValidUTF8(string(text), "\uFFFD") }

// resolved makes the event of a connect to an address that the process knows by name.
func (h *happenings) resolved(c *event.NetworkConnect, name *dns.Found) {
	h.make(h.resolutions.next(event.DNSResolution{Envelope: c.Envelope,
		Target: event.Target{Netns: c.Netns, Transport: c.Transport, Family: c.Family, DestinationAddress: c.DestinationAddress, DestinationPort: c.DestinationPort},
		Name:   name.Name, Source: name.Source, SameProcess: name.SameProcess, Age: name.Age, TTL: name.TTL, Others: h.lists.Texts(name.Others),
		Process: c.Process, ConnectionID: c.ConnectionID}))
}
