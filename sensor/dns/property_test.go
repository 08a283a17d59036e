package dns

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/netview-project/netview/event"
)

// simulation does things in the order of their time.
type simulation struct{ coming []happens }

type happens struct {
	at time.Duration
	do func(at time.Duration)
}

func (s *simulation) at(at time.Duration, do func(at time.Duration)) {
	i, _ := slices.BinarySearchFunc(s.coming, at, func(h happens, at time.Duration) int { return int(h.at - at) })
	s.coming = slices.Insert(s.coming, i, happens{at, do})
}

func (s *simulation) run(after func(at time.Duration)) {
	for len(s.coming) > 0 {
		next := s.coming[0]
		s.coming = s.coming[1:]
		next.do(next.at)
		after(next.at)
	}
}

// random time up to a limit, in microseconds as latencies are told.
func random(r *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(r.Int64N(limit.Microseconds())) * time.Microsecond
}

// TestEachQueryIsToldOnce: resolvers that repeat, from the same socket or from new
// ones, over a network that loses, doubles and reorders. Each query is told exactly
// once: with the first answer that came in time, or with none.
func TestEachQueryIsToldOnce(t *testing.T) {
	answered := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 6))
		told, want := map[string][]string{}, map[string]string{}
		w := newWorld(t, DefaultLimits())
		w.Tracker = NewTracker(DefaultLimits(), func(q *Query) {
			told[q.Event.Name] = append(told[q.Event.Name], fmt.Sprint(q.Event.Result, q.Event.Answers, q.Event.Latency.Value, q.Event.Attempts.Value))
		})
		var s simulation
		loss := r.Float64()
		for i := range 30 {
			name := fmt.Sprintf("h%d.example.com", i)
			asks := who{uint32(10 + i%3), uint64(100 + i%5), 40000}
			began := random(r, 10*time.Second)
			last, attempts, over := began, 0, false
			var transmit func(at time.Duration)
			transmit = func(at time.Duration) {
				if over {
					return
				}
				last = at
				if attempts++; r.IntN(2) == 0 {
					asks.socket = r.Uint64N(1000)
				}
				from, server := asks, []netip.AddrPort{server1, server2}[r.IntN(2)]
				q := ask(uint16(i), name, dns.TypeA)
				w.now = at
				w.sends(from, server, q)
				want[name] = fmt.Sprint(event.DNSNoAnswer, []string{}, time.Duration(0), attempts)
				for range r.IntN(3) { // copies of the answer, and different ones
					if r.Float64() < loss {
						continue
					}
					answer := fmt.Sprintf("198.51.100.%d", r.IntN(250))
					s.at(at+random(r, 8*time.Second), func(at time.Duration) {
						w.now = at
						w.gets(from, server, reply(q, dns.RcodeSuccess, name+". 60 IN A "+answer))
						if !over && at-last <= wait {
							over = true
							answered++
							want[name] = fmt.Sprint(event.DNSAnswered, []string{answer}, at-began, attempts)
						}
					})
				}
				if attempts < 3 && r.IntN(3) > 0 {
					s.at(at+random(r, wait), transmit)
				}
			}
			s.at(began, transmit)
		}
		s.run(func(at time.Duration) {
			if r.IntN(4) == 0 {
				w.Tick(at)
			}
		})
		w.Tick(time.Hour)
		for name, line := range want {
			if got := told[name]; len(got) != 1 || got[0] != line {
				t.Fatalf("seed %d: %s is told %q, want %q", seed, name, got, line)
			}
		}
		if w.expect(nil); len(told) != len(want) {
			t.Fatalf("seed %d: told %v", seed, told)
		}
	}
	if answered < 1000 || answered > 8000 {
		t.Errorf("%d of 9000 queries were answered: the simulation is one-sided", answered)
	}
}

// TestSegmentsInAnyOrder: both directions of a connection in segments of any size,
// doubled and reordered. Each query is told with its answer; where segments are
// lost, with its answer or with none.
func TestSegmentsInAnyOrder(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		lossy := seed%2 == 1
		told := map[string][]string{}
		w := newWorld(t, DefaultLimits())
		w.Tracker = NewTracker(DefaultLimits(), func(q *Query) {
			told[q.Event.Name] = append(told[q.Event.Name], fmt.Sprint(q.Event.Result, q.Event.Answers))
		})
		c := conversation{w: w, who: alice}
		var out, in []byte
		for i := range 20 {
			name := fmt.Sprintf("h%d.example.com", i)
			q := ask(uint16(i), name, dns.TypeA)
			out = append(out, framed(t, q)...)
			in = append(in, framed(t, reply(q, dns.RcodeSuccess, fmt.Sprintf("%s. 60 IN A 198.51.100.%d", name, i)))...)
		}
		// A segment cut at random looks like the beginning of a message by chance: the
		// first one is always there.
		first := uint32(r.Uint64())
		for _, direction := range []struct {
			sent bool
			data []byte
		}{{true, out}, {false, in}} {
			var packets []*Packet
			for at := 0; at < len(direction.data); {
				end := min(at+1+r.IntN(200), len(direction.data))
				if at == 0 || !lossy || r.IntN(10) > 0 {
					for range 1 + r.IntN(2) {
						packets = append(packets, c.segment(direction.sent, first+uint32(at), bytes.Clone(direction.data[at:end])))
					}
				}
				at = end
			}
			for i := range packets { // as far as a window goes
				j := min(len(packets)-1, i+r.IntN(8))
				if i > 0 && j > 0 {
					packets[i], packets[j] = packets[j], packets[i]
				}
			}
			for _, p := range packets {
				w.now += ms
				p.At = w.now
				w.Packet(p)
			}
		}
		w.later(time.Hour)
		for i := range 20 {
			name := fmt.Sprintf("h%d.example.com", i)
			right, none := fmt.Sprintf("answered[198.51.100.%d]", i), "no_answer[]"
			got := told[name]
			switch {
			case len(got) == 1 && (got[0] == right || lossy && got[0] == none):
			case len(got) == 0 && lossy: // the question was lost
			default:
				t.Fatalf("seed %d: %s is told %q, want %q", seed, name, got, right)
			}
		}
		if len(told) > 20 || w.streams.buffered != 0 || len(w.streams.known) != 0 {
			t.Fatalf("seed %d: %v, %d bytes of %d streams", seed, told, w.streams.buffered, len(w.streams.known))
		}
	}
}
