package sensor

import (
	"net/netip"
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

	// Memory of events that wait for the next append, as that of happenings.
	lists       dns.Lists
	queries     arena[event.DNSQuery]
	lookups     arena[event.DNSLookup]
	resolutions arena[event.DNSResolution]
}

func newNaming(queried func(*dns.Query)) naming {
	return naming{tracker: dns.NewTracker(dns.DefaultLimits(), queried), names: dns.NewNames(dns.DefaultNames), counters: dns.NewCounters()}
}

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

// resolved makes the event of a connect to an address that the process knows by name.
func (h *happenings) resolved(c *event.NetworkConnect, name *dns.Found) {
	h.make(h.resolutions.next(event.DNSResolution{Envelope: c.Envelope,
		Target: event.Target{Netns: c.Netns, Transport: c.Transport, Family: c.Family, DestinationAddress: c.DestinationAddress, DestinationPort: c.DestinationPort},
		Name:   name.Name, Source: name.Source, SameProcess: name.SameProcess, Age: name.Age, TTL: name.TTL, Others: h.lists.Texts(name.Others),
		Process: c.Process, ConnectionID: c.ConnectionID}))
}
