package fleet

import (
	"time"

	"github.com/netview-project/netview/event"
)

// story is something that happens to the first host of a role, or to all where it
// names none: from one heartbeat on and before another, in each cycle of heartbeats
// anew. Like all of a fleet, stories follow from its parameters and the number of the
// heartbeat; the rows that are made inside of ClickHouse have none.
type story struct {
	role        string
	first, last int
}

const storyCycle = 160 // 40 minutes at the default interval

var (
	// A worker tries the ports of another host, one after the other.
	portScan = story{"worker", 12, 24}
	// A web server has seven times the connections that it has otherwise.
	crowd = story{"web", 40, 40 + crowdRise + crowdStays + 1}
	// The resolvers answer hardly a question.
	outage = story{"", 80, 96}
	// The kernel of a UPF has no GTP-U socket any more.
	gtpULoss = story{"upf", 110, 150}
)

// outageRcodes of the questions that are asked during an outage.
var outageRcodes = []frequency{{10, "NOERROR"}, {40, "SERVFAIL"}, {100, ""}}

// tells whether a story happens here at a heartbeat.
func (s *Sensor) tells(t story, beat int) bool {
	n := beat % storyCycle
	return s.fleet.Stories && (t.role == "" || t.role == s.firstOf) && n >= t.first && n < t.last
}

// The connections of a crowd come within a rise of heartbeats and stay.
const (
	crowdRise  = 8
	crowdStays = 12
	// crowdSize is how many there are for each slot of the host.
	crowdSize = 5
)

// storm is who of the crowd is there at a heartbeat, or has just gone.
func (s *Sensor) storm(beat int) (lives []life) {
	if !s.tells(crowd, beat) {
		return nil
	}
	cycle := beat / storyCycle
	key := mix(s.host.part(saltStories) + uint64(cycle))
	size := crowdSize * len(s.slots)
	for i := range size {
		begun := cycle*storyCycle + crowd.first + i*crowdRise/size
		if begun <= beat && beat <= begun+crowdStays {
			lives = append(lives, life{hash: mix(key + uint64(i)), begun: begun, period: crowdStays, busy: true})
		}
	}
	return lives
}

// scanned ports in a heartbeat.
const scanned = 150

// scan is what the scanner does before a heartbeat: attempts that are refused, but
// where something listens.
func (s *Sensor) scan(beat int) (events []event.Event) {
	if !s.tells(portScan, beat) {
		return nil
	}
	hash := mix(s.host.part(saltStories) + uint64(beat/storyCycle))
	target := hostAddress(1+pick(hash, 0, s.fleet.Sensors), false)
	for i := range scanned {
		port := 1 + (beat%storyCycle-portScan.first)*scanned + i
		at := s.time(beat - 1).Add(s.fleet.Interval * time.Duration(i+1) / (scanned + 1)).Truncate(time.Millisecond)
		ends := event.Ends{Netns: netnsOf(python), Transport: event.TransportTCP, Family: family(false), SourceAddress: hostAddress(s.index, false),
			SourcePort: uint16(firstEphemeral + pick(mix(hash+uint64(port)), 0, ephemeralPorts)), DestinationAddress: target, DestinationPort: uint16(port)}
		connect := &event.NetworkConnect{Envelope: s.envelope(at), Ends: ends, Result: "refused", Process: s.process(python, hash)}
		flow := &event.NetworkFlow{Envelope: s.envelope(at), Ends: ends, Direction: event.DirectionOutbound, DirectionSource: event.SourceConnect,
			BytesSent: event.Some(uint64(0)), BytesReceived: event.Some(uint64(0)), FinalState: event.FinalRefused, FinalDetail: "refused", Process: connect.Process,
			Duration: event.Some(time.Duration(0)), DurationSource: event.SourceConnect}
		if port == 22 {
			connect.Result, flow.FinalState, flow.FinalDetail = event.ResultOK, event.FinalEstablished, "reset_locally"
		}
		events = append(events, connect, flow)
	}
	return events
}
