package dns

import (
	"slices"
	"time"

	"github.com/netview-project/netview/event"
)

// Query is what became of a question. It and what its lists hold are valid for the
// time of the call; the strings, and the process's, may be kept.
type Query struct {
	// Event has no envelope.
	Event event.DNSQuery
	// Began is when it was sent first, Ended when it was answered or given up, on the
	// boot clock.
	Began, Ended time.Duration
	// Addresses that the answer has for the name.
	Addresses []Address
}

// identity of a query: while one waits, whoever asks the same again repeats it.
type identity struct {
	// owner is the pid, or the socket where the process is not known.
	owner    uint64
	known    bool
	netns    uint64
	protocol string
	question question
}

// exchange is where an answer comes: to the socket that asked, with the question's
// ID. Which server it comes from says nothing: where addresses are translated it is
// another than was asked, and in mDNS anybody may answer.
type exchange struct {
	socket   uint64
	id       uint16
	protocol string
}

// query waits for its answer.
type query struct {
	identity
	// exchanges that an answer may come by, one for each different transmission.
	exchanges []exchange
	// continuous is a query of a whole implementation of mDNS, which hears what goes
	// to everybody (RFC 6762, 5.2).
	continuous   bool
	first, last  time.Duration // transmissions
	told         Query
	older, newer *query // by last
}

// mostExchanges is how many ways an answer to one query may come by, and how many
// servers are named. Repetitions beyond are counted.
const mostExchanges = 16

// again takes a transmission, and reports whether its exchange is a new one.
func (q *query) again(p *Packet, x exchange, server string) (added bool) {
	q.last = max(q.last, p.At)
	e := &q.told.Event
	e.Attempts.Value++
	if p.Process != nil && !e.Process.PID.Known {
		e.Process = *p.Process
	}
	if len(e.Servers) < mostExchanges && !slices.Contains(e.Servers, server) {
		e.Servers = append(e.Servers, server)
	}
	if len(q.exchanges) == mostExchanges || slices.Contains(q.exchanges, x) {
		return false
	}
	q.exchanges = append(q.exchanges, x)
	return true
}

// answer takes what a message says.
func (q *query) answer(m *message, at time.Duration) {
	e := &q.told.Event
	e.RCode = m.rcode()
	e.Latency = event.Some(max(0, at-q.first).Round(time.Microsecond))
	e.AnswerCount = event.Some(uint32(m.counts[1]))
	e.Truncated = event.Some(m.truncated())
	for i := range m.answers {
		r := &m.answers[i]
		if q.protocol == event.ProtocolMDNS && !q.answeredBy(r) {
			continue // of another question
		}
		e.Answers = append(e.Answers, r.data)
		e.AnswerTypes = append(e.AnswerTypes, typeName(r.kind))
		e.AnswerTTLs = append(e.AnswerTTLs, r.ttl)
	}
	q.told.Addresses = resolve(q.told.Addresses, m.answers, q.question.name)
}
