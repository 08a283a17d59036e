package dns

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/miekg/dns"

	"github.com/netview-project/netview/event"
)

// checkQuery holds a query against what the contract allows.
func checkQuery(t *testing.T, q *Query) {
	e := &q.Event
	if e.Name == "" || len(e.Name) > 4*longestName || e.Name != strings.ToLower(e.Name) || !utf8.ValidString(e.Name) {
		t.Errorf("name %q", e.Name)
	}
	if e.Attempts.Value == 0 || len(e.Servers) == 0 || len(e.Servers) > mostExchanges || len(e.Answers) > event.MaxAnswers || len(e.Answers) != len(e.AnswerTypes) || len(e.Answers) != len(e.AnswerTTLs) {
		t.Errorf("%+v", e)
	}
	for _, answer := range e.Answers {
		if len(answer) > 4*longestName+longestData || !utf8.ValidString(answer) {
			t.Errorf("answer %.80q of %d bytes", answer, len(answer))
		}
	}
	if (e.Result == event.DNSAnswered) != (e.RCode != "") || e.Latency.Known != (e.RCode != "") || q.Ended < q.Began {
		t.Errorf("%+v", q)
	}
}

// FuzzPacket sends a question of arbitrary bytes, and gives arbitrary bytes as its
// answer: once as they are, once with the question's ID.
func FuzzPacket(f *testing.F) {
	a := ask(1, "www.example.com", dns.TypeA)
	f.Add(pack(f, a), pack(f, reply(a, dns.RcodeSuccess, "www.example.com. 1 IN CNAME a.b.", "a.b. 1 IN A 198.51.100.1", "a.b. 1 IN TXT x", "a.b. 1 IN HTTPS 1 . alpn=h2")), false)
	m := ask(0, "_ipp._tcp.local", dns.TypePTR)
	f.Add(pack(f, m), pack(f, reply(m, dns.RcodeSuccess, `_ipp._tcp.local. 1 IN PTR a\.b._ipp._tcp.local.`, "a.local. 1 IN NSEC a.local. A", "a.local. 1 IN SRV 0 0 1 a.local.")), true)
	f.Fuzz(func(t *testing.T, question, answer []byte, mdns bool) {
		waits, told := 0, 0
		tracker := NewTracker(Limits{Queries: 40, Streams: 2, Buffered: 1000}, func(q *Query) { told++; checkQuery(t, q) })
		server := server1
		if mdns {
			server = group
		}
		p := &Packet{At: time.Second, Socket: 1, Netns: 1, Sent: true, Transport: event.TransportUDP, Local: printer, Remote: server, Data: question, Length: len(question)}
		tracker.Packet(p)
		waits = tracker.Waiting()
		p.Sent, p.Data, p.Length = false, answer, len(answer)
		tracker.Packet(p)
		if len(answer) > 2 && len(question) > 2 {
			p.Data = append(append([]byte{}, question[:2]...), answer[2:]...)
			tracker.Packet(p)
		}
		tracker.Close(time.Minute)
		if told < waits || tracker.Waiting() != 0 || len(tracker.exchanges) != 0 || len(tracker.heard) != 0 {
			t.Errorf("%d waited, %d were told, %d wait", waits, told, tracker.Waiting())
		}
	})
}

// FuzzTCP plays arbitrary segments: direction, sequence number, length, bytes.
func FuzzTCP(f *testing.F) {
	questions, answers, _ := three()
	play := func(sent byte, sequence int, data []byte) []byte {
		return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{sent}, uint16(sequence)), uint16(len(data))), data...)
	}
	out, in := bytesOf(f, questions), bytesOf(f, answers)
	f.Add(append(play(1, 0, out), play(0, 0, in)...))
	f.Add(append(append(append(play(1, 0, out[:20]), play(1, 20, out[20:])...), play(0, 30, in[30:])...), play(0, 0, in[:30])...))
	f.Add(append(play(1, 0, nil), play(9, 0, out)...))
	f.Add(append(play(1, 0, out), play(9, len(out), out)...))
	f.Fuzz(func(t *testing.T, script []byte) {
		tracker := NewTracker(Limits{Queries: 8, Streams: 3, Buffered: 4000}, func(q *Query) { checkQuery(t, q) })
		now := time.Duration(0)
		for len(script) >= 5 {
			flags, sequence, n := script[0], uint32(binary.BigEndian.Uint16(script[1:])), int(binary.BigEndian.Uint16(script[3:]))
			n = min(n, len(script)-5)
			sequence += uint32(flags>>3&1) << 31 // as far away as can be
			now += time.Duration(flags>>4) * time.Second
			tracker.Packet(&Packet{At: now, Socket: uint64(flags >> 1 & 3), Netns: 1, Sent: flags&1 != 0, Transport: event.TransportTCP, Remote: server1, Sequence: sequence, Data: script[5 : 5+n], Length: n})
			script = script[5+n:]
			held := 0
			for _, st := range tracker.streams.known {
				held += len(st.partial)
				for _, a := range st.ahead {
					held += len(a.data)
				}
			}
			if held != tracker.streams.buffered || held > 4000 || len(tracker.streams.known) > 3 || tracker.Waiting() > 8 {
				t.Fatalf("%d bytes are held, counted are %d; %d streams, %d queries", held, tracker.streams.buffered, len(tracker.streams.known), tracker.Waiting())
			}
		}
		tracker.Close(time.Hour)
		if tracker.streams.buffered != 0 || tracker.streams.oldest != nil || tracker.Waiting() != 0 {
			t.Error("something is left")
		}
	})
}
