package fleet

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/netview-project/netview/event"
)

// Slices of the hash of a life. A slice says where it begins; how wide it is
// follows from what is picked.
const (
	atTalk   = 7
	atPort   = 16
	atPeer   = 32
	atFamily = 48
	atState  = 55
)

func (s *Sensor) talk(l life) *talk {
	talks := roles[s.host.role].talks
	return &talks[pick(l.hash, atTalk, len(talks))]
}

func (s *Sensor) outbound(l life) bool { return !s.talk(l).inbound }

func ipv6(l life) bool { return pick(l.hash, atFamily, 100) < 10 }

func family(v6 bool) string {
	if v6 {
		return "ipv6"
	}
	return "ipv4"
}

// peer of a life: its address, and the name by which the host knows it, which is
// one that it looked up.
func (s *Sensor) peer(l life) (address netip.Addr, name string) {
	t := s.talk(l)
	if t.outside {
		i := pick(l.hash, atPeer, services)
		address, name = serviceAddress(i, ipv6(l)), serviceNames[i]
	} else {
		i := 1 + pick(l.hash, atPeer, s.fleet.Sensors)
		address, name = hostAddress(i, ipv6(l)), s.names[i]
	}
	if t.inbound {
		name = ""
	}
	return address, name
}

var serviceNames = func() (names [services]string) {
	for i := range names {
		names[i] = fmt.Sprintf("service-%03d.example.com", i)
	}
	return names
}()

// ports of a life: the one of the service and that of who asked for it.
func (s *Sensor) ports(l life) (service, client uint16) {
	return uint16(s.talk(l).port), uint16(firstEphemeral + pick(l.hash, atPort, ephemeralPorts))
}

func (s *Sensor) process(program int, hash uint64) event.Process {
	if program == kernel {
		return event.Process{}
	}
	p := &programs[program]
	return event.Process{PID: event.Some(s.pids[program] + uint32(pick(hash, atPort, p.workers))),
		Binary: p.binary, Name: p.name, User: p.user, ContainerID: s.containers[program]}
}

func (s *Sensor) envelope(at time.Time) event.Envelope {
	return event.Envelope{Resource: s.Resource, Timestamp: at}
}

func (s *Sensor) ends(l life) (ends event.Ends, name string) {
	local := hostAddress(s.index, ipv6(l))
	remote, name := s.peer(l)
	service, client := s.ports(l)
	ends = event.Ends{Netns: netnsOf(s.talk(l).program), Transport: event.TransportTCP, Family: family(ipv6(l)), SourcePort: client, DestinationPort: service,
		SourceAddress: local, DestinationAddress: remote}
	if s.talk(l).inbound {
		ends.SourceAddress, ends.DestinationAddress = remote, local
	}
	return ends, name
}

// result of a short outbound connection; all others succeed.
func (s *Sensor) result(l life) string {
	if !l.short || !s.outbound(l) {
		return event.ResultOK
	}
	return of(results, pick(l.hash, atState, 100))
}

func (s *Sensor) connect(l life, at time.Time) *event.NetworkConnect {
	ends, name := s.ends(l)
	return &event.NetworkConnect{Envelope: s.envelope(at), Ends: ends, Result: s.result(l), Process: s.process(s.talk(l).program, l.hash), RemoteName: name}
}

// flow ends at a time; its duration is not known where it is older than the sensor.
func (s *Sensor) flow(l life, begun, ended time.Time, known bool) *event.NetworkFlow {
	ends, name := s.ends(l)
	flow := &event.NetworkFlow{Envelope: s.envelope(ended), Ends: ends, Direction: event.DirectionInbound, DirectionSource: event.SourceAccept,
		Process: s.process(s.talk(l).program, l.hash), RemoteName: name}
	if s.outbound(l) {
		flow.Direction, flow.DirectionSource = event.DirectionOutbound, event.SourceConnect
	}
	if known {
		flow.Duration, flow.DurationSource = event.Some(ended.Sub(begun)), flow.DirectionSource
	}
	if result := s.result(l); result != event.ResultOK {
		flow.FinalState, flow.FinalDetail, flow.Retransmits = event.FinalRefused, result, event.Some(uint64(0))
		flow.BytesSent, flow.BytesReceived = event.Some(uint64(0)), event.Some(uint64(0))
		return flow
	}
	sent, received := l.bytes()
	flow.BytesSent, flow.BytesReceived, flow.TCP = event.Some(sent), event.Some(received), l.tcp()
	flow.FinalState, flow.FinalDetail = event.FinalEstablished, of(finalDetails, pick(l.part(saltBytes), 48, 100))
	return flow
}

// bytes of a life from its beginning to its end.
func (l life) bytes() (sent, received uint64) {
	bytes := l.part(saltBytes)
	return uint64(200 + pick(bytes, 0, 1<<16)<<pick(bytes, 16, 8)), uint64(200 + pick(bytes, 24, 1<<16)<<pick(bytes, 40, 8))
}

// tcp is how well a life goes: a round trip of up to 40 ms, and one connection of ten
// that sends segments again.
func (l life) tcp() event.TCP {
	hash := l.part(saltTCP)
	return event.TCP{RTT: event.Some(time.Duration(100+pick(hash, 0, 40_000)) * time.Microsecond), Retransmits: event.Some(uint64(max(0, pick(hash, 16, 100)-89)))}
}

func (l life) state() string { return of(states, pick(l.hash, atState, 100)) }

// liveFlow is the flow of a connection in a snapshot; its bytes grow to those of the end.
func (s *Sensor) liveFlow(l life, envelope event.Envelope) *event.Flow {
	ends, name := s.ends(l)
	flow := &event.Flow{Envelope: envelope, Heartbeat: s.beat, Ends: ends, Direction: event.DirectionInbound, DirectionSource: event.SourceAccept,
		State: event.FlowEstablished, TCP: l.tcp(), Process: s.process(s.talk(l).program, l.hash), RemoteName: name}
	if s.outbound(l) {
		flow.Direction, flow.DirectionSource = event.DirectionOutbound, event.SourceConnect
	}
	if l.state() == "close_wait" {
		flow.State = event.FlowHalfClosed
	}
	sent, received := l.bytes()
	lived, whole := uint64(int(s.beat)-l.begun+1), uint64(l.period+1)
	flow.BytesSent, flow.BytesReceived = event.Some(sent*lived/whole), event.Some(received*lived/whole)
	if l.begun > 0 {
		flow.Duration, flow.DurationSource = event.Some(envelope.Timestamp.Sub(s.beginning(l))), flow.DirectionSource
	}
	return flow
}

// snapshot of the lives that a heartbeat sees; events is how many came before it.
func (s *Sensor) snapshot(live []life, events int) *event.Snapshot {
	at := s.time(int(s.beat))
	envelope := s.envelope(at)
	role := &roles[s.host.role]
	snapshot := &event.Snapshot{}
	connections := make([]event.Connection, len(live))
	for i, l := range live {
		c := &connections[i]
		t := s.talk(l)
		*c = event.Connection{Envelope: envelope, Heartbeat: s.beat, Netns: netnsOf(t.program), Family: family(ipv6(l)),
			LocalAddress: hostAddress(s.index, ipv6(l)), State: l.state(),
			Direction: event.DirectionOutbound, DirectionSource: event.SourceListeningPort, Inode: uint64(1 + pick(l.part(saltInode), 0, 1<<31)), Process: s.process(t.program, l.hash)}
		c.RemoteAddress, c.RemoteName = s.peer(l)
		c.RemotePort, c.LocalPort = s.ports(l)
		if t.inbound {
			c.Direction, c.LocalPort, c.RemotePort = event.DirectionInbound, c.RemotePort, c.LocalPort
		}
		if l.begun > 1 { // the first heartbeat cannot know
			c.Duration, c.DurationSource = event.Some(at.Sub(s.time(l.begun))), event.SourceFirstSeen
		}
		snapshot.Connections = append(snapshot.Connections, c)
		if c.State != "syn_sent" {
			snapshot.Flows = append(snapshot.Flows, s.liveFlow(l, envelope))
		}
	}
	h := &event.Heartbeat{Envelope: envelope, Heartbeat: s.beat, Connections: uint64(len(live)), Flows: event.Some(uint64(len(snapshot.Flows))), TimeWait: uint64(events), Mode: event.ModeEBPF, Interval: s.fleet.Interval,
		CollectDuration: time.Duration(1500+pick(mix(s.host.part(saltBeats)+s.beat), 0, 4000)) * time.Microsecond, Uptime: at.Sub(s.start), Namespaces: uint64(role.namespaces()), Features: map[string]string{"generator": event.FeatureOn}}
	for i, l := range role.allListeners() {
		if l.port == gtpU && s.tells(gtpULoss, int(s.beat)) {
			continue
		}
		address := netip.MustParseAddr(l.address)
		row := &event.Listener{Envelope: envelope, Heartbeat: s.beat, Netns: netnsOf(l.program), Transport: l.transport, Family: family(address.Is6()), LocalAddress: address,
			LocalPort: uint16(l.port), Ephemeral: l.port == 0, Process: s.process(l.program, 0)}
		if l.port == 0 {
			row.LocalPort = uint16(firstEphemeral + pick(s.host.part(saltEphemeral), 0, ephemeralPorts))
		}
		if l.program != kernel {
			row.Inode = firstInode + uint64(i)
		}
		if l.transport == event.TransportTCP {
			h.TCPListeners++
		} else {
			h.UDPListeners++
		}
		snapshot.Listeners = append(snapshot.Listeners, row)
	}
	snapshot.Heartbeat = h
	return snapshot
}

// firstInode of the listeners; those of connections are above.
const firstInode = 10_000
