package flow

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/netview-project/netview/event"
)

// watched is a tracker and what it completed.
type watched struct {
	*Tracker
	ended []Ended
}

func watch(limit int) *watched {
	w := &watched{}
	w.Tracker = NewTracker(limit, func(e *Ended) { w.ended = append(w.ended, *e) })
	return w
}

// table shows sockets at a time; every namespace can be read.
func (w *watched) table(at time.Duration, rows ...Sighting) {
	w.Table(at, func(see func(*Sighting) *Flow) {
		for i := range rows {
			see(&rows[i])
		}
	}, func(uint64) bool { return false })
}

func socket(id uint64, role Role, start time.Duration) Socket {
	return Socket{ID: id, Netns: 1, Local: netip.MustParseAddrPort("192.0.2.1:40000"), Remote: netip.MustParseAddrPort("198.51.100.1:443"), Role: role, Start: start}
}

func inTable(s Socket, state uint8) Sighting {
	s.Start = 0 // a table does not tell
	s.Role = Unknown
	return Sighting{Socket: s, State: state, Held: true}
}

func (e Ended) String() string {
	direction, source := e.Role.Direction()
	return fmt.Sprintf("%d %s/%s from %v to %v %d/%d %v %s %s", e.ID, direction, source, e.Start, e.At, e.Sent, e.Received, e.Counted, e.Final, e.Detail)
}

// TestTracker: what is told, in each order, and the flows that it must give.
func TestTracker(t *testing.T) {
	const s = time.Second
	connected := socket(1, Connected, s)
	closing := func(at time.Duration) *Closing {
		return &Closing{Socket: connected, Counters: Counters{Sent: 10, Received: 20}, At: at, Before: finWait2}
	}
	for name, c := range map[string]struct {
		tell func(w *watched)
		live int
		want []string
	}{
		"opened and closed": {func(w *watched) { w.Open(&connected, s); w.Close(closing(3 * s)) }, 0,
			[]string{"1 outbound/connect from 1s to 3s 10/20 true established fin"}},
		"closed, and nothing told of its beginning": {func(w *watched) { w.Close(closing(3 * s)) }, 0,
			[]string{"1 outbound/connect from 1s to 3s 10/20 true established fin"}},
		"everything told twice": {func(w *watched) {
			w.Open(&connected, s)
			w.Open(&connected, s)
			w.Close(closing(3 * s))
			w.Close(closing(3 * s))
		}, 0, []string{"1 outbound/connect from 1s to 3s 10/20 true established fin"}},
		"its beginning told after its end": {func(w *watched) { w.Close(closing(3 * s)); w.Open(&connected, s); w.table(4 * s); w.table(5 * s) }, 0,
			[]string{"1 outbound/connect from 1s to 3s 10/20 true established fin"}},
		"no end, and no socket in two tables": {func(w *watched) {
			w.Open(&connected, s)
			row := inTable(connected, established)
			row.Acked, row.Received = 8, 5
			w.table(2*s, row)
			w.table(3 * s)
			w.table(4 * s)
		}, 0, []string{"1 outbound/connect from 1s to 4s 7/5 true stale missed_close"}},
		"no end, and no table that ever showed it": {func(w *watched) { w.Open(&connected, s); w.table(3 * s); w.table(4 * s) }, 0,
			[]string{"1 outbound/connect from 1s to 4s 0/0 false stale missed_close"}},
		"missing in one table": {func(w *watched) {
			w.Open(&connected, s)
			w.table(2 * s)
			w.table(3*s, inTable(connected, established))
			w.table(4 * s)
		}, 1, nil},
		"begun while a table was read": {func(w *watched) { w.Open(&connected, 3*s); w.table(2 * s); w.table(3 * s) }, 1, nil},
		"in a table alone, then its end": {func(w *watched) {
			w.table(2*s, inTable(connected, established))
			c := closing(3 * s)
			c.Role, c.Start = Unknown, 0
			w.Close(c)
		}, 0, []string{"1 unknown/ from 0s to 3s 10/20 true established fin"}},
		"in a table, where its port is listened on": {func(w *watched) {
			row := inTable(connected, established)
			row.Role = Listened
			w.table(2*s, row)
			c := closing(3 * s)
			c.Role, c.Start = Unknown, 0
			w.Close(c)
		}, 0, []string{"1 inbound/listening_port from 0s to 3s 10/20 true established fin"}},
		"in a table, then its late beginning": {func(w *watched) {
			w.table(2*s, inTable(connected, established))
			w.Open(&connected, s)
			w.Close(closing(3 * s))
		}, 0,
			[]string{"1 outbound/connect from 1s to 3s 10/20 true established fin"}},
		"in a table that was read before its end": {func(w *watched) {
			w.Open(&connected, s)
			w.Close(closing(3 * s))
			w.table(2*s, inTable(connected, established))
		}, 0,
			[]string{"1 outbound/connect from 1s to 3s 10/20 true established fin"}},
		"connecting, or waiting for accept": {func(w *watched) {
			waits := inTable(socket(2, Unknown, 0), established)
			waits.Held = false
			w.table(2*s, inTable(connected, synSent), inTable(socket(3, Unknown, 0), synReceived), waits)
		}, 0, nil},
		"the same ends again, at once": {func(w *watched) {
			w.Open(&connected, s)
			again := connected
			again.ID, again.Start = 2, 2*s
			w.Open(&again, 2*s)
			w.Close(&Closing{Socket: again, At: 3 * s, Before: lastAck})
			w.Close(closing(4 * s))
		}, 0, []string{"2 outbound/connect from 2s to 3s 0/0 true established fin", "1 outbound/connect from 1s to 4s 10/20 true established fin"}},
		"half-closed for long, then closed": {func(w *watched) {
			w.Open(&connected, s)
			w.table(2*s, inTable(connected, finWait2))
			w.table(63*s, inTable(connected, finWait2))
			w.Close(closing(64 * s))
		}, 0, []string{"1 outbound/connect from 1s to 1m4s 10/20 true half-closed fin"}},
		"half-closed for long, and the peer closed after all": {func(w *watched) {
			w.Open(&connected, s)
			w.table(2*s, inTable(connected, finWait2))
			c := closing(64 * s)
			c.FinReceived = true
			w.Close(c)
		}, 0, []string{"1 outbound/connect from 1s to 1m4s 10/20 true established fin"}},
		"a socket without an ID": {func(w *watched) {
			nameless := connected
			nameless.ID = 0
			w.Open(&nameless, s)
			w.table(2*s, inTable(nameless, established))
			c := closing(3 * s)
			c.ID = 0
			w.Close(c)
		}, 0, []string{"0 outbound/connect from 1s to 3s 10/20 true established fin"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(10)
			c.tell(w)
			var got []string
			for _, e := range w.ended {
				got = append(got, e.String())
			}
			if !slices.Equal(got, c.want) || w.Len() != c.live {
				t.Errorf("%d live, and ended:\n\t%q\nwant %d, and\n\t%q", w.Len(), got, c.live, c.want)
			}
		})
	}
}

// TestUnreadNamespace: nothing is concluded of a namespace that was not read.
func TestUnreadNamespace(t *testing.T) {
	w := watch(10)
	s := socket(1, Accepted, 1)
	w.Open(&s, 1)
	for at := range time.Duration(5) {
		w.Table(10+at, func(func(*Sighting) *Flow) {}, func(netns uint64) bool { return netns == 1 })
	}
	if w.Len() != 1 || len(w.ended) > 0 {
		t.Errorf("%d live, ended %v", w.Len(), w.ended)
	}
}

// TestEviction: the flow that was idle for longest goes, once, and is counted.
func TestEviction(t *testing.T) {
	w := watch(3)
	for id := range uint64(3) {
		s := socket(id+1, Connected, 1)
		w.Open(&s, 1)
	}
	busy := inTable(socket(1, Unknown, 0), established)
	busy.Acked = 100
	w.table(2, busy, inTable(socket(2, Unknown, 0), established), inTable(socket(3, Unknown, 0), established), inTable(socket(4, Unknown, 0), established))
	fourth := socket(4, Accepted, 3)
	w.Open(&fourth, 3)
	if len(w.ended) != 1 || w.ended[0].ID != 2 || w.ended[0].Final != event.FinalStale || w.ended[0].Detail != DetailEvicted {
		t.Errorf("ended: %v, want the second, evicted", w.ended)
	}
	w.Close(&Closing{Socket: socket(2, Connected, 1), At: 4, Before: finWait2})
	w.table(5, inTable(socket(2, Unknown, 0), established))
	if want := (Audit{Evicted: 1, Untracked: 1}); w.Audit() != want || len(w.ended) != 1 || w.Len() != 3 {
		t.Errorf("%+v, %d ended, %d live; want %+v, 1 and 3", w.Audit(), len(w.ended), w.Len(), want)
	}
}

// TestLiveCounters: what the kernel counts, and what of it is payload.
func TestLiveCounters(t *testing.T) {
	for _, c := range []struct {
		role           Role
		state          uint8
		acked, sent    uint64
		received       uint64
		unacked        uint32
		wantSent, want uint64
	}{
		{Connected, established, 101, 100, 50, 0, 100, 50},
		{Accepted, established, 100, 100, 50, 0, 100, 50},
		{Connected, finWait2, 102, 100, 50, 0, 100, 50},
		{Accepted, finWait2, 101, 100, 50, 0, 100, 50},
		{Connected, closeWait, 101, 100, 51, 0, 100, 50},
		{Unknown, established, 101, 100, 50, 0, 100, 50},
		{Unknown, established, 100, 100, 50, 0, 100, 50},
		{Unknown, finWait2, 102, 100, 50, 0, 100, 50},
		{Unknown, established, 51, 100, 50, 3, 51, 50}, // 50 or 51: not known before all is acknowledged
		{Connected, established, 0, 0, 0, 0, 0, 0},
	} {
		w := watch(1)
		s := socket(1, c.role, 1)
		if c.role != Unknown {
			w.Open(&s, 1)
		}
		row := inTable(s, c.state)
		row.Acked, row.Sent, row.Received, row.Unacked = c.acked, c.sent, c.received, c.unacked
		w.table(2, row)
		if f := w.Find(1); f.Sent != c.wantSent || f.Received != c.want {
			t.Errorf("%+v: %d sent and %d received", c, f.Sent, f.Received)
		}
	}
}

// TestTotals: each byte of a flow is counted once, and none from before the sensor.
func TestTotals(t *testing.T) {
	w := watch(10)
	show := func(at time.Duration, id, acked, received uint64) {
		row := inTable(socket(id, Unknown, 0), established)
		row.Acked, row.Sent, row.Received = acked, acked, received
		w.table(at, row)
	}
	show(1, 1, 1000, 2000) // older than the sensor
	show(2, 1, 1100, 2000)
	w.Close(&Closing{Socket: socket(1, Unknown, 0), Counters: Counters{Sent: 1150, Received: 2001}, At: 3, Before: finWait2})
	s := socket(2, Accepted, 4)
	w.Open(&s, 4)
	show(5, 2, 7, 8)
	w.Close(&Closing{Socket: s, Counters: Counters{Sent: 10, Received: 8}, At: 6, Before: finWait2})
	w.Close(&Closing{Socket: socket(3, Connected, 5), Counters: Counters{Sent: 1000}, At: 6, Before: finWait2})
	w.Close(&Closing{Socket: socket(4, Unknown, 0), Counters: Counters{Sent: 5000}, At: 6, Before: finWait2}) // of it nothing else is known
	if want := (Totals{Sent: 100 + 50 + 10 + 1000, Received: 1 + 8}); w.Totals() != want {
		t.Errorf("%+v, want %+v", w.Totals(), want)
	}
}

// connection of the model in TestProperties.
type connection struct {
	Socket
	sent, received   uint64
	opened, closed   time.Duration
	knownOf, ofClose bool // something was told of it; its end was
}

// TestProperties lets connections come and go at random, and tells of them late,
// twice, in another order or not at all. Whatever is told: no flow is completed
// twice, none whose socket lives; each that is known to have been is completed in
// the end, with the bytes it had if its end was told in time; and those that live
// are what the last table shows.
func TestProperties(t *testing.T) {
	for seed := range uint64(2000) {
		if problem := tryProperties(rand.New(rand.NewPCG(seed, 1))); problem != "" {
			t.Fatalf("seed %d: %s", seed, problem)
		}
	}
}

func tryProperties(random *rand.Rand) (problem string) {
	w := watch(1 << 20)
	var all []*connection
	// told is what the kernel told and the tracker has not heard yet.
	type told struct {
		at  time.Duration
		say func()
	}
	var pending []told
	chance := func(percent int) bool { return random.IntN(100) < percent }
	lossy, late := random.IntN(30), random.IntN(60)
	tell := func(at time.Duration, say func()) {
		if chance(lossy) {
			return
		}
		if chance(late) {
			at += time.Duration(random.IntN(40))
		}
		pending = append(pending, told{at, say})
		if chance(10) {
			pending = append(pending, told{at + time.Duration(random.IntN(10)), say})
		}
	}
	hear := func(until time.Duration) {
		slices.SortStableFunc(pending, func(a, b told) int { return int(a.at - b.at) })
		for len(pending) > 0 && pending[0].at <= until {
			pending[0].say()
			pending = pending[1:]
		}
	}
	now := time.Duration(1)
	table := func() {
		var rows []Sighting
		for _, c := range all {
			if c.closed == 0 {
				row := inTable(c.Socket, established)
				row.Acked, row.Sent, row.Received = c.sent, c.sent, c.received
				if c.Role == Connected {
					row.Acked++
				}
				rows = append(rows, row)
				c.knownOf = true
			}
		}
		hear(now)
		w.table(now, rows...)
	}
	for step := range 60 {
		now += time.Duration(1 + random.IntN(5))
		switch {
		case chance(40):
			c := &connection{Socket: socket(uint64(len(all)+1), []Role{Connected, Accepted}[random.IntN(2)], now), opened: now}
			all = append(all, c)
			tell(now, func() {
				w.Open(&c.Socket, c.opened)
				c.knownOf = true
			})
		case chance(60) && len(all) > 0:
			c := all[random.IntN(len(all))]
			if c.closed != 0 {
				break
			}
			c.sent += random.Uint64N(1000)
			c.received += random.Uint64N(1000)
			if chance(50) {
				c.closed = now
				tell(now, func() {
					w.Close(&Closing{Socket: c.Socket, Counters: Counters{Sent: c.sent, Received: c.received}, At: c.closed, Before: finWait2})
					c.knownOf, c.ofClose = true, true
				})
			}
		case step%7 == 0:
			table()
		}
		hear(now)
	}
	now += 100
	for range 3 {
		now += 15
		table()
	}
	ended := map[uint64]Ended{}
	for _, e := range w.ended {
		if before, twice := ended[e.ID]; twice {
			return fmt.Sprintf("completed twice: %v and %v", before, e)
		}
		ended[e.ID] = e
	}
	for _, c := range all {
		e, completed := ended[c.ID]
		f := w.Find(c.ID)
		switch {
		case completed && c.closed == 0:
			return fmt.Sprintf("completed, and it lives: %v", e)
		case c.closed == 0 && (f == nil || f.Sent != c.sent || f.Received != c.received):
			return fmt.Sprintf("it lives with %d/%d bytes, and the flow is %+v", c.sent, c.received, f)
		case c.closed != 0 && f != nil:
			return fmt.Sprintf("it is closed, and the flow lives: %+v", f)
		case c.closed != 0 && c.knownOf != completed:
			return fmt.Sprintf("known: %v, and completed: %v (%v)", c.knownOf, completed, e)
		case completed && e.Final != event.FinalStale && (!c.ofClose || e.Sent != c.sent || e.Received != c.received || e.At != c.closed || e.Start != c.opened):
			return fmt.Sprintf("%v, of %d/%d bytes, closed at %v", e, c.sent, c.received, c.closed)
		case completed && e.Final == event.FinalStale && (e.Sent > c.sent || e.Received > c.received):
			return fmt.Sprintf("%v, of %d/%d bytes only", e, c.sent, c.received)
		}
	}
	return ""
}
