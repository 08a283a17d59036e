package dns

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/netview-project/netview/event"
)

// wait is how long after its last transmission a query is given up. Resolvers
// repeat a question after 5 s, which is then still the same query.
const wait = 5500 * time.Millisecond

// Limits of a [Tracker].
type Limits struct {
	// Queries that wait for an answer at a time. The oldest makes room for a new one.
	Queries int
	// Streams of TCP that are followed at a time, two for a connection.
	Streams int
	// Buffered bytes of all streams: messages that have not come whole.
	Buffered int
}

// DefaultLimits take up to 50 MB, if all of it is used and all names are as long as
// can be.
func DefaultLimits() Limits { return Limits{Queries: 1 << 14, Streams: 1 << 12, Buffered: 4 << 20} }

// Tracker pairs questions with their answers.
//
// Transmissions of a question by the same process in the same network namespace,
// each within 5.5 s of the one before, are one query. It is told once: when its
// first answer comes, or when the time is over: as unanswered, or as unfinished where
// the answer may have been among packets that are missing ([Tracker.Gap]). An answer must come to the socket
// that asked, with the ID and the question; in mDNS, where everybody hears an answer,
// it must have a record of the name and type.
// What responders of mDNS probe and announce is no query.
type Tracker struct {
	limits Limits
	done   func(*Query)

	queries   map[identity]*query
	exchanges map[exchange][]*query
	heard     map[heardKey][]*query // those that are continuous
	// oldest and newest of those that wait, by their last transmission.
	oldest, newest *query
	gap            time.Duration // when packets were last missing
	// free and spare are used again.
	free  []*query
	spare [][]*query

	message message
	streams streams
	lost    map[string]uint64
}

// heardKey is by what an answer finds queries that hear what goes to everybody.
type heardKey struct {
	netns uint64
	name  string
}

// NewTracker returns a tracker that gives done each query.
func NewTracker(limits Limits, done func(*Query)) *Tracker {
	t := &Tracker{limits: limits, done: done, queries: map[identity]*query{}, exchanges: map[exchange][]*query{}, heard: map[heardKey][]*query{},
		message: message{texts: newTexts()}, lost: map[string]uint64{}}
	for _, cause := range Causes() {
		t.lost[cause] = 0
	}
	t.streams = streams{limits: limits, lost: t.lost, known: map[streamKey]*stream{}, deliver: func(p *Packet, message []byte) { t.take(p, event.ProtocolDNS, message) }}
	return t
}

// Packet takes a packet. It keeps nothing of it but the process.
func (t *Tracker) Packet(p *Packet) {
	protocol := ""
	switch {
	case p.Remote.Port() == portDNS:
		protocol = event.ProtocolDNS
	case p.Remote.Port() == portMDNS && p.Transport == event.TransportUDP:
		protocol = event.ProtocolMDNS
	default:
		return
	}
	if p.Transport == event.TransportTCP {
		t.streams.take(p)
	} else if p.Sequence == 0 { // else the rest of one that was cut
		t.take(p, protocol, p.Data)
	}
}

// take a message.
func (t *Tracker) take(p *Packet, protocol string, data []byte) {
	m := &t.message
	if err := m.read(data, protocol == event.ProtocolMDNS); err != nil {
		t.lost[CauseMalformed]++
		return
	}
	switch {
	case m.opcode() != dns.OpcodeQuery || m.response() == p.Sent:
		// NOTIFY and the like; what a responder of mDNS announces, and what it is asked.
	case !p.Sent:
		t.answer(p, protocol)
	case protocol == event.ProtocolMDNS && m.counts[2] != 0:
		// A responder probes for its own names (RFC 6762, 8.1).
	default:
		for _, q := range m.questions {
			t.ask(p, protocol, q)
		}
	}
}

// ask takes a question that is sent.
func (t *Tracker) ask(p *Packet, protocol string, asked question) {
	id := identity{owner: p.Socket, netns: p.Netns, protocol: protocol, question: asked}
	if p.Process != nil && p.Process.PID.Known {
		id.owner, id.known = uint64(p.Process.PID.Value), true
	}
	x := exchange{p.Socket, t.message.id, protocol}
	q := t.queries[id]
	if q != nil && p.At-q.last > wait {
		t.giveUp(q)
		q = nil
	}
	if q == nil {
		if len(t.queries) >= t.limits.Queries {
			t.evict(t.oldest, p.At)
		}
		q = t.begin(p, id)
	} else {
		t.unlink(q)
	}
	t.link(q)
	if added := q.again(p, x, t.message.texts.address(p.Remote.Addr())); added && !q.continuous {
		add(t, t.exchanges, x, q, p.At)
	}
}

// evict a query to make room.
func (t *Tracker) evict(q *query, now time.Duration) {
	if now-q.last > wait {
		t.giveUp(q)
		return
	}
	t.lost[CauseQueryEvicted]++
	t.finish(q, event.DNSUnfinished, now)
}

// begin a query with its first transmission.
func (t *Tracker) begin(p *Packet, id identity) *query {
	var q *query
	if last := len(t.free) - 1; last >= 0 {
		q, t.free = t.free[last], t.free[:last]
	} else {
		q = &query{}
	}
	q.identity, q.first, q.last = id, p.At, p.At
	q.told.Began = p.At
	q.continuous = id.protocol == event.ProtocolMDNS && p.Local.Port() == portMDNS
	e := &q.told.Event
	e.Ends = event.Ends{Netns: p.Netns, Transport: p.Transport, Family: familyOf(p.Remote.Addr()), SourceAddress: p.Local.Addr(), SourcePort: p.Local.Port(),
		DestinationAddress: p.Remote.Addr(), DestinationPort: p.Remote.Port()}
	e.Protocol, e.Name, e.Type, e.Class = id.protocol, id.question.name, typeName(id.question.kind), className(id.question.class)
	e.ID, e.Attempts = event.Some(uint32(t.message.id)), event.Some(uint32(0))
	e.ConnectionID = event.Optional[uint64]{Value: p.Socket, Known: p.Socket != 0}
	t.queries[id] = q
	if q.continuous {
		add(t, t.heard, heardKey{id.netns, id.question.name}, q, p.At)
	}
	return q
}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// answer takes a response that came.
func (t *Tracker) answer(p *Packet, protocol string) {
	m := &t.message
	x := exchange{p.Socket, m.id, protocol}
	if len(t.exchanges[x]) == 0 && (protocol != event.ProtocolMDNS || len(t.heard) == 0) {
		return // late, or another copy
	}
	if m.readAnswers() != nil {
		if p.Transport == event.TransportUDP && p.Length > len(p.Data) {
			t.lost[CauseCut]++
		} else {
			t.lost[CauseMalformed]++
		}
	}
	// finish takes them out of the lists.
	waiting := t.exchanges[x]
	for i := len(waiting) - 1; i >= 0; i-- {
		if q := waiting[i]; !q.continuous && q.answers(m) {
			t.answered(q, p.At)
		}
	}
	if protocol != event.ProtocolMDNS || p.Local.Port() != portMDNS {
		return
	}
	for i := range m.answers {
		r := &m.answers[i]
		hearing := t.heard[heardKey{p.Netns, r.owner}]
		for j := len(hearing) - 1; j >= 0; j-- {
			if hearing[j].answeredBy(r) {
				t.answered(hearing[j], p.At)
			}
		}
	}
}

// answers reports whether a message answers the query.
func (q *query) answers(m *message) bool {
	if len(m.questions) > 0 {
		return slices.Contains(m.questions, q.question)
	}
	if q.protocol == event.ProtocolMDNS {
		return slices.ContainsFunc(m.answers, func(r record) bool { return q.answeredBy(&r) })
	}
	// A server that could not even read the question has nothing to repeat.
	return m.flags&0xF != dns.RcodeSuccess
}

// answeredBy reports whether a record is an answer: of the type, an alias, or one
// that says that there is none (RFC 6762, 6.1).
func (q *query) answeredBy(r *record) bool {
	return r.owner == q.question.name && (r.kind == q.question.kind || q.question.kind == dns.TypeANY || r.kind == dns.TypeCNAME || r.kind == dns.TypeNSEC)
}

func (t *Tracker) answered(q *query, at time.Duration) {
	if at-q.last > wait {
		t.giveUp(q)
		return
	}
	q.answer(&t.message, at)
	t.finish(q, event.DNSAnswered, at)
}

// Tick gives up what has waited too long at a time of the boot clock, up to which
// all packets were taken.
func (t *Tracker) Tick(now time.Duration) {
	for t.oldest != nil && now-t.oldest.last > wait {
		t.giveUp(t.oldest)
	}
	t.streams.tick(now)
}

// giveUp a query that has waited long enough.
func (t *Tracker) giveUp(q *query) {
	result := event.DNSNoAnswer
	if t.gap != 0 && t.gap >= q.first {
		result = event.DNSUnfinished // it is not known whether there was an answer
	}
	t.finish(q, result, q.last+wait)
}

// Gap says that packets are missing, up to a time of the boot clock.
func (t *Tracker) Gap(at time.Duration) { t.gap = at }

// Close ends what still waits.
func (t *Tracker) Close(now time.Duration) {
	t.Tick(now)
	for t.oldest != nil {
		t.lost[CauseQueryUnfinished]++
		t.finish(t.oldest, event.DNSUnfinished, now)
	}
}

// Lost counts what could not be followed, by cause.
func (t *Tracker) Lost() map[string]uint64 { return maps.Clone(t.lost) }

// Waiting is how many queries wait for an answer.
func (t *Tracker) Waiting() int { return len(t.queries) }

// finish tells of a query, and forgets it.
func (t *Tracker) finish(q *query, result string, at time.Duration) {
	q.told.Event.Result, q.told.Ended = result, at
	t.done(&q.told)
	t.unlink(q)
	delete(t.queries, q.identity)
	for _, x := range q.exchanges {
		remove(t, t.exchanges, x, q)
	}
	if q.continuous {
		remove(t, t.heard, heardKey{q.netns, q.question.name}, q)
	}
	e := &q.told.Event
	*q = query{exchanges: q.exchanges[:0], told: Query{Addresses: q.told.Addresses[:0], Event: event.DNSQuery{Servers: e.Servers[:0], Answers: e.Answers[:0], AnswerTypes: e.AnswerTypes[:0], AnswerTTLs: e.AnswerTTLs[:0]}}}
	t.free = append(t.free, q)
}

// mostShared is how many queries may wait for the same answer. It keeps those short
// who look through them.
const mostShared = 64

// add a query to a list.
func add[K comparable](t *Tracker, lists map[K][]*query, key K, q *query, now time.Duration) {
	if list := lists[key]; len(list) == mostShared {
		t.evict(list[0], now)
	}
	list := lists[key]
	if last := len(t.spare) - 1; list == nil && last >= 0 {
		list, t.spare = t.spare[last], t.spare[:last]
	}
	lists[key] = append(list, q)
}

// remove a query from its list.
func remove[K comparable](t *Tracker, lists map[K][]*query, key K, q *query) {
	list := lists[key]
	if i := slices.Index(list, q); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) > 0 {
		lists[key] = list
		return
	}
	delete(lists, key)
	if list != nil {
		t.spare = append(t.spare, list)
	}
}

// link a query as the newest.
func (t *Tracker) link(q *query) {
	if q.older, q.newer = t.newest, nil; t.newest != nil {
		t.newest.newer = q
	} else {
		t.oldest = q
	}
	t.newest = q
}

func (t *Tracker) unlink(q *query) {
	if q.older == nil && q.newer == nil && t.oldest != q {
		return // of no list yet
	}
	if q.older != nil {
		q.older.newer = q.newer
	} else {
		t.oldest = q.newer
	}
	if q.newer != nil {
		q.newer.older = q.older
	} else {
		t.newest = q.older
	}
}
