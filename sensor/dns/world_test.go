package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/netview-project/netview/event"
)

var (
	client  = netip.MustParseAddr("192.0.2.10")
	server1 = netip.MustParseAddrPort("192.0.2.53:53")
	server2 = netip.MustParseAddrPort("[2001:db8::53]:53")
	group   = netip.MustParseAddrPort("224.0.0.251:5353")
	printer = netip.MustParseAddrPort("192.0.2.77:5353")
)

// world is what happens to a tracker, and what it tells.
type world struct {
	t    testing.TB
	now  time.Duration
	told []string
	*Tracker
}

func newWorld(t testing.TB, limits Limits) *world {
	w := &world{t: t, now: time.Hour}
	w.Tracker = NewTracker(limits, func(q *Query) { w.told = append(w.told, describe(q)) })
	return w
}

// describe tells of a query in a line.
func describe(q *Query) string {
	e := &q.Event
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s %s %s by %d: %dx%v %s", e.Protocol, e.Transport, e.Name, e.Type, e.Process.PID.Value, e.Attempts.Value, e.Servers, e.Result)
	if e.Result != event.DNSAnswered {
		if e.RCode != "" || e.Latency.Known || e.AnswerCount.Known || e.Truncated.Known || len(e.Answers) > 0 {
			b.WriteString(" with an answer")
		}
		return b.String()
	}
	fmt.Fprintf(&b, " %s in %v", e.RCode, e.Latency.Value)
	if e.Truncated.Value {
		b.WriteString(" truncated")
	}
	for i, answer := range e.Answers {
		fmt.Fprintf(&b, ", %s %s %d", e.AnswerTypes[i], answer, e.AnswerTTLs[i])
	}
	if int(e.AnswerCount.Value) != len(e.Answers) {
		fmt.Fprintf(&b, " of %d", e.AnswerCount.Value)
	}
	return b.String()
}

// later lets time pass.
func (w *world) later(d time.Duration) {
	w.now += d
	w.Tick(w.now)
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	data, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// who asks: a process with a socket.
type who struct {
	pid    uint32
	socket uint64
	port   uint16
}

var (
	alice     = who{10, 100, 40000}
	aliceToo  = who{10, 101, 40001}
	bob       = who{20, 200, 40002}
	responder = who{30, 300, 5353}
)

func (w *world) packet(a who, with netip.AddrPort, sent bool, data []byte) *Packet {
	return &Packet{At: w.now, Socket: a.socket, Netns: 1, Sent: sent, Transport: event.TransportUDP, Local: netip.AddrPortFrom(client, a.port), Remote: with,
		Process: &event.Process{PID: event.Some(a.pid)}, Data: data, Length: len(data)}
}

func (w *world) sends(a who, to netip.AddrPort, m *dns.Msg) {
	w.t.Helper()
	w.Packet(w.packet(a, to, true, pack(w.t, m)))
}

func (w *world) gets(a who, from netip.AddrPort, m *dns.Msg) {
	w.t.Helper()
	p := w.packet(a, from, false, pack(w.t, m))
	p.Process = nil
	w.Packet(p)
}

// question makes a query.
func ask(id uint16, name string, kind uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), kind)
	m.Id = id
	return m
}

// reply makes the answer to a query, of records in the form of a zone file.
func reply(to *dns.Msg, rcode int, records ...string) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(to)
	m.Compress = true
	m.Rcode = rcode
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

// expect holds what was told against lines, and each loss against its count.
func (w *world) expect(lost map[string]uint64, lines ...string) {
	w.t.Helper()
	if !slices.Equal(w.told, lines) {
		w.t.Errorf("told\n\t%s\nwant\n\t%s", strings.Join(w.told, "\n\t"), strings.Join(lines, "\n\t"))
	}
	for cause, n := range w.Lost() {
		if n != lost[cause] {
			w.t.Errorf("%s: %d, want %d", cause, n, lost[cause])
		}
	}
	if n := len(w.queries); n != 0 {
		w.t.Errorf("%d queries wait", n)
	}
	if len(w.exchanges) != 0 || len(w.heard) != 0 || w.oldest != nil || w.newest != nil {
		w.t.Errorf("left behind: %v %v %v %v", w.exchanges, w.heard, w.oldest, w.newest)
	}
}
