package dns

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/netview-project/netview/event"
)

// conversation is a TCP connection to server1.
type conversation struct {
	w       *world
	who     who
	out, in uint32 // next sequence numbers
}

func framed(t testing.TB, m *dns.Msg) []byte {
	data := pack(t, m)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...)
}

func (c *conversation) segment(sent bool, sequence uint32, data []byte) *Packet {
	p := c.w.packet(c.who, server1, sent, data)
	p.Transport, p.Sequence = event.TransportTCP, sequence
	if !sent {
		p.Process = nil
	}
	return p
}

func (c *conversation) sends(messages ...*dns.Msg) {
	for _, m := range messages {
		data := framed(c.w.t, m)
		c.w.Packet(c.segment(true, c.out, data))
		c.out += uint32(len(data))
	}
}

func (c *conversation) gets(messages ...*dns.Msg) {
	var data []byte
	for _, m := range messages {
		data = append(data, framed(c.w.t, m)...)
	}
	c.w.Packet(c.segment(false, c.in, data))
	c.in += uint32(len(data))
}

// three questions with their answers, and what is to be told.
func three() (questions, answers []*dns.Msg, told []string) {
	for i := range 3 {
		q := ask(uint16(i), fmt.Sprintf("h%d.example.com", i), dns.TypeA)
		questions = append(questions, q)
		answers = append(answers, reply(q, dns.RcodeSuccess, fmt.Sprintf("h%d.example.com. 60 IN A 198.51.100.%d", i, i)))
		told = append(told, fmt.Sprintf("dns/tcp h%d.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 0s, A 198.51.100.%d 60", i, i))
	}
	return questions, answers, told
}

func bytesOf(t testing.TB, messages []*dns.Msg) (data []byte) {
	for _, m := range messages {
		data = append(data, framed(t, m)...)
	}
	return data
}

func TestSeveralMessagesInASegment(t *testing.T) {
	questions, answers, told := three()
	c := conversation{newWorld(t, DefaultLimits()), alice, 1<<32 - 10, 5} // which wraps
	c.sends(questions...)
	c.gets(answers...)
	c.w.expect(nil, told...)
}

// TestSplitAtEveryByte cuts both directions into two segments at every place, and
// into single bytes; in order, exchanged, and with each sent twice.
func TestSplitAtEveryByte(t *testing.T) {
	questions, answers, told := three()
	out, in := bytesOf(t, questions), bytesOf(t, answers)
	for cut := range len(in) {
		for name, order := range map[string][]int{"in order": {0, 1}, "sent again": {0, 0, 1, 0, 1}} {
			w := newWorld(t, DefaultLimits())
			c := conversation{w: w, who: alice}
			w.Packet(c.segment(true, 0, out[:min(cut, len(out))]))
			w.Packet(c.segment(true, uint32(min(cut, len(out))), out[min(cut, len(out)):]))
			parts := [][]byte{in[:cut], in[cut:]}
			for _, i := range order {
				w.Packet(c.segment(false, uint32(i*cut), parts[i]))
			}
			if w.expect(nil, told...); t.Failed() {
				t.Fatalf("%s, cut at %d", name, cut)
			}
		}
	}
	w := newWorld(t, DefaultLimits())
	c := conversation{w: w, who: alice}
	for i := range out {
		w.Packet(c.segment(true, uint32(i), out[i:i+1]))
	}
	for i := range in {
		w.Packet(c.segment(false, uint32(i), in[i:i+1]))
	}
	w.expect(nil, told...)
	if w.streams.buffered != 0 {
		t.Errorf("%d bytes stay buffered", w.streams.buffered)
	}
}

func TestOutOfOrder(t *testing.T) {
	questions, answers, told := three()
	w := newWorld(t, DefaultLimits())
	c := conversation{w: w, who: alice}
	c.sends(questions...)
	in := bytesOf(t, answers)
	const size = 20
	var segments [][2]int
	for at := size; at < len(in); at += size {
		segments = append(segments, [2]int{at, min(at+size+7, len(in))}) // they overlap
	}
	w.Packet(c.segment(false, 0, in[:size]))
	slices.Reverse(segments)
	for _, s := range segments {
		w.Packet(c.segment(false, uint32(s[0]), in[s[0]:s[1]]))
		w.Packet(c.segment(false, uint32(s[0]), in[s[0]:s[1]]))
	}
	w.expect(nil, told...)
	if w.streams.buffered != 0 {
		t.Errorf("%d bytes stay buffered", w.streams.buffered)
	}
}

// TestLostSegment: what was in it is not told, and what follows is.
func TestLostSegment(t *testing.T) {
	questions, answers, told := three()
	w := newWorld(t, DefaultLimits())
	c := conversation{w: w, who: alice}
	c.sends(questions...)
	c.gets(answers[0])
	c.in += uint32(len(framed(t, answers[1])))
	c.gets(answers[2])
	w.now += wait
	w.Packet(c.segment(false, 0, framed(t, answers[0]))) // sent again: nothing new
	w.now++
	q := ask(9, "later.example.com", dns.TypeA)
	c.sends(q)
	c.gets(reply(q, dns.RcodeNameError))
	w.later(time.Minute)
	w.expect(map[string]uint64{CauseStreamGap: 1}, told[0], "dns/tcp h2.example.com A by 10: 1x[192.0.2.53] no_answer",
		"dns/tcp later.example.com A by 10: 1x[192.0.2.53] answered NXDOMAIN in 0s", "dns/tcp h1.example.com A by 10: 1x[192.0.2.53] no_answer")
}

// TestMeetsAStreamInTheMiddle: a sensor that starts while a message comes goes on
// with the next.
func TestMeetsAStreamInTheMiddle(t *testing.T) {
	questions, answers, told := three()
	w := newWorld(t, DefaultLimits())
	c := conversation{w: w, who: alice}
	rest := []byte("\x00\x01le.com\x00\x00\x01\x00\x01")
	w.Packet(c.segment(true, 0, rest))
	c.out = uint32(len(rest))
	c.sends(questions...)
	rest = []byte("some rest of a message")
	w.Packet(c.segment(false, 0, rest))
	c.in = uint32(len(rest))
	c.gets(answers...)
	w.expect(map[string]uint64{CauseStreamMalformed: 2}, told...)
}

func TestStreamsMakeRoom(t *testing.T) {
	w := newWorld(t, Limits{Queries: 10, Streams: 3, Buffered: 1000})
	part := make([]byte, 300)
	binary.BigEndian.PutUint16(part, 60000)
	for i := range 4 {
		c := conversation{w: w, who: who{1, uint64(i), 1}}
		w.Packet(c.segment(true, 0, part))
	}
	if w.Lost()[CauseStreamEvicted] != 1 || len(w.streams.known) != 3 || w.streams.buffered != 900 {
		t.Errorf("%v, %d streams, %d bytes", w.Lost(), len(w.streams.known), w.streams.buffered)
	}
	c := conversation{w: w, who: who{1, 3, 1}}
	w.Packet(c.segment(true, 300, part))
	if w.Lost()[CauseStreamEvicted] != 2 || len(w.streams.known) != 2 || w.streams.buffered != 900 {
		t.Errorf("%v, %d streams, %d bytes", w.Lost(), len(w.streams.known), w.streams.buffered)
	}
	w.later(idle + 1)
	if w.Lost()[CauseStreamGap] != 2 || len(w.streams.known) != 0 || w.streams.buffered != 0 || w.streams.newest != nil {
		t.Errorf("%v, %d streams, %d bytes", w.Lost(), len(w.streams.known), w.streams.buffered)
	}
}

func TestLargestMessage(t *testing.T) {
	w := newWorld(t, DefaultLimits())
	c := conversation{w: w, who: alice}
	q := ask(1, "big.example.com", dns.TypeA)
	c.sends(q)
	r := reply(q, dns.RcodeSuccess)
	for len(r.Answer) < 4000 {
		rr, _ := dns.NewRR("big.example.com. 60 IN A 198.51.100.1")
		r.Answer = append(r.Answer, rr)
	}
	data := framed(t, r)
	if len(data) < 64000 {
		t.Fatal(len(data))
	}
	for at := 0; at < len(data); at += 4096 {
		w.Packet(c.segment(false, uint32(at), data[at:min(at+4096, len(data))]))
	}
	if len(w.told) != 1 || w.streams.buffered != 0 {
		t.Error(w.told, w.streams.buffered)
	}
}
