package dns

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/netview-project/netview/event"
)

// TestMemoryIsBounded: a million packets made to fill memory, with names as long as
// can be, questions that nobody answers, and streams that never end a message.
func TestMemoryIsBounded(t *testing.T) {
	told := map[string]int{}
	tracker := NewTracker(DefaultLimits(), func(q *Query) { told[q.Event.Result]++ })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := rand.New(rand.NewPCG(1, 2))
	name := header(1, 0)
	for range 3 {
		name = append(append(name, 63), make([]byte, 63)...)
	}
	name = append(append(name, 61), make([]byte, 61)...)
	name = append(name, 0, 0, 1, 0, 1)
	segment := make([]byte, 1400)
	const packets = 1_000_000
	asked := 0
	for i := range packets {
		p := &Packet{At: time.Duration(i) * time.Microsecond, Socket: uint64(r.IntN(100_000)), Netns: uint64(i % 3), Sent: true, Transport: event.TransportUDP, Local: printer, Remote: server1}
		switch i % 4 {
		case 0, 1:
			binary.BigEndian.PutUint64(name[20:], r.Uint64()|0x8080808080808080) // escaped, every octet
			p.Data = name
			asked++
		case 2:
			p.Transport, p.Data = event.TransportTCP, segment
			binary.BigEndian.PutUint16(segment, 0xFFFF)
		default:
			p.Transport, p.Data, p.Sequence = event.TransportTCP, segment, r.Uint32()
		}
		p.Length = len(p.Data)
		tracker.Packet(p)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := tracker.Waiting(); n > DefaultLimits().Queries {
		t.Errorf("%d queries wait", n)
	}
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%.1f MB after %d packets", float64(grown)/(1<<20), packets)
	if grown > 60<<20 {
		t.Errorf("%d MB are held", grown>>20)
	}
	tracker.Close(time.Hour)
	if sum := told[event.DNSUnfinished] + told[event.DNSNoAnswer]; sum != asked {
		t.Errorf("%d questions were asked, told were %v", asked, told)
	}
}

// exchangeOf is a question with its answer, of the usual form.
func exchangeOf(t testing.TB) (question, answer []byte) {
	q := ask(1, "www.example.com", dns.TypeA)
	q.SetEdns0(1232, false)
	r := reply(q, dns.RcodeSuccess, "www.example.com. 300 IN CNAME cdn.example.net.", "cdn.example.net. 60 IN A 198.51.100.1", "cdn.example.net. 60 IN A 198.51.100.2")
	r.SetEdns0(1232, false)
	return pack(t, q), pack(t, r)
}

// asking gives a tracker, with counters and lists as the sensor has them, and what
// lets it take a query with its answer.
func asking(t testing.TB) func() {
	question, answer := exchangeOf(t)
	counters, names, lists := NewCounters(), NewNames(DefaultNames), Lists{}
	kept := make([]event.DNSQuery, 0, 1000)
	tracker := NewTracker(DefaultLimits(), func(q *Query) {
		counters.Query(&q.Event)
		names.Learn(q.Event.Netns, q.Event.Process.PID.Value, q.Event.Name, q.Addresses, event.NameFromAnswer, q.Ended)
		if len(kept) == cap(kept) {
			kept = kept[:0]
			lists.Empty()
		}
		lists.Keep(&q.Event)
		kept = append(kept, q.Event)
	})
	sent := Packet{Socket: 1, Netns: 1, Sent: true, Transport: event.TransportUDP, Local: printer, Remote: server1, Process: &event.Process{PID: event.Some(uint32(7))}, Data: question, Length: len(question)}
	got := sent
	got.Sent, got.Process, got.Data, got.Length = false, nil, answer, len(answer)
	n := 0
	return func() {
		n++
		sent.At += time.Microsecond
		got.At = sent.At
		sent.Socket = uint64(n)
		got.Socket = sent.Socket
		tracker.Packet(&sent)
		tracker.Packet(&got)
	}
}

// TestQueryAllocates: nothing, once everything has its size.
func TestQueryAllocates(t *testing.T) {
	take := asking(t)
	for range 5000 {
		take()
	}
	if n := testing.AllocsPerRun(5000, take); n > 0.05 {
		t.Errorf("%.3f allocations for a query with its answer", n)
	}
}

// BenchmarkQuery is a query with its answer, from the two packets to the event, the
// counters and the names; and the floor, which is to unpack the two messages.
func BenchmarkQuery(b *testing.B) {
	b.Run("netview", func(b *testing.B) {
		take := asking(b)
		b.ReportAllocs()
		for b.Loop() {
			take()
		}
	})
	b.Run("unpack", func(b *testing.B) {
		question, answer := exchangeOf(b)
		b.ReportAllocs()
		for b.Loop() {
			for _, data := range [][]byte{question, answer} {
				if err := new(dns.Msg).Unpack(data); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
