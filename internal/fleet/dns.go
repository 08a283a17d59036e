package fleet

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/netview-project/netview/event"
)

// Who connects to the outside asks for the address before, with getaddrinfo, which
// asks the host's resolver. Where that finds nothing, it asked for a name that is
// gone, and connects to what it knew.
const (
	resolver = "127.0.0.53"
	library  = "/usr/lib/x86_64-linux-gnu/libc.so.6"
	// noAnswerAfter is when getaddrinfo gives up; otherwise it takes up to longestAnswer
	// until the answer comes, and answerToConnect from there to the connect.
	noAnswerAfter   = 5500 * time.Millisecond
	longestAnswer   = 40 * time.Millisecond
	answerToConnect = 2 * time.Millisecond
	longestTTL      = time.Hour
)

// Slices of the hash that decides what is asked, after that of the rcode.
const (
	atTook    = 8
	atAskID   = 16
	atAskPort = 32
	atTTL     = 48
)

// dns is what follows from the lives that begin with a connect: the queries, the
// lookups and the resolutions.
func (s *Sensor) dns(lives []life) (events []event.Event) {
	lives = slices.DeleteFunc(lives, func(l life) bool { return !s.talk(l).outside })
	for _, l := range lives {
		events = append(events, s.query(l))
	}
	for _, l := range lives {
		events = append(events, s.lookup(l))
	}
	for _, l := range lives {
		if s.rcode(l) == "NOERROR" {
			events = append(events, s.resolution(l))
		}
	}
	return events
}

// rcode of the answer; empty where none comes.
func (s *Sensor) rcode(l life) string {
	n := pick(l.part(saltAsk), 0, 100)
	if s.tells(outage, l.begun) {
		return of(outageRcodes, n)
	}
	return of(rcodes, n)
}

func (s *Sensor) took(l life) time.Duration {
	if s.rcode(l) == "" {
		return noAnswerAfter
	}
	return time.Duration(1+pick(l.part(saltAsk), atTook, int(longestAnswer.Milliseconds()))) * time.Millisecond
}

func ttl(l life) time.Duration {
	return time.Duration(1+pick(l.part(saltAsk), atTTL, int(longestTTL.Seconds()))) * time.Second
}

// asked is the name that is asked for, and what the answer holds.
func (s *Sensor) asked(l life) (name string, addresses []string) {
	address, name := s.peer(l)
	if s.rcode(l) != "NOERROR" {
		return "gone-" + name, nil
	}
	return name, []string{address.String()}
}

// connected is when a life began, long or short.
func (s *Sensor) connected(l life) time.Time {
	if l.short {
		begun, _ := s.shortTime(l)
		return begun
	}
	return s.beginning(l)
}

func (s *Sensor) query(l life) *event.DNSQuery {
	hash, t := l.part(saltAsk), s.talk(l)
	q := &event.DNSQuery{Envelope: s.envelope(s.connected(l).Add(-answerToConnect - s.took(l))),
		Ends: event.Ends{Netns: netnsOf(t.program), Transport: event.TransportUDP, Family: family(false), SourceAddress: netip.MustParseAddr("127.0.0.1"),
			SourcePort: uint16(firstEphemeral + pick(hash, atAskPort, ephemeralPorts)), DestinationAddress: netip.MustParseAddr(resolver), DestinationPort: 53},
		Protocol: event.ProtocolDNS, Type: "A", Class: "IN", ID: event.Some(uint32(pick(hash, atAskID, 1<<16))), Servers: []string{resolver}, Attempts: event.Some(uint32(1)),
		Result: event.DNSAnswered, RCode: s.rcode(l), Process: s.process(t.program, l.hash)}
	if ipv6(l) {
		q.Type = "AAAA"
	}
	if q.Name, q.Answers = s.asked(l); q.RCode == "" {
		q.Result, q.Attempts.Value = event.DNSNoAnswer, 2
		return q
	}
	q.Latency, q.AnswerCount, q.Truncated = event.Some(s.took(l)), event.Some(uint32(len(q.Answers))), event.Some(false)
	for range q.Answers {
		q.AnswerTypes, q.AnswerTTLs = append(q.AnswerTypes, q.Type), append(q.AnswerTTLs, uint32(ttl(l).Seconds()))
	}
	return q
}

func (s *Sensor) lookup(l life) *event.DNSLookup {
	t := s.talk(l)
	lookup := &event.DNSLookup{Envelope: s.envelope(s.connected(l).Add(-answerToConnect - s.took(l))), Netns: netnsOf(t.program), Service: strconv.Itoa(t.port),
		Result: "EAI_AGAIN", Latency: event.Some(s.took(l) + time.Millisecond), Library: library, Process: s.process(t.program, l.hash)}
	switch s.rcode(l) {
	case "NOERROR":
		lookup.Result = event.ResultOK
	case "NXDOMAIN":
		lookup.Result = "EAI_NONAME"
	}
	lookup.Name, lookup.Addresses = s.asked(l)
	return lookup
}

func (s *Sensor) resolution(l life) *event.DNSResolution {
	ends, name := s.ends(l)
	return &event.DNSResolution{Envelope: s.envelope(s.connected(l)),
		Target: event.Target{Netns: ends.Netns, Transport: ends.Transport, Family: ends.Family, DestinationAddress: ends.DestinationAddress, DestinationPort: ends.DestinationPort},
		Name:   name, Source: event.NameFromAnswer, SameProcess: true, Age: answerToConnect, TTL: event.Some(ttl(l)), Process: s.process(s.talk(l).program, l.hash)}
}
