package dns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/netview-project/netview/event"
)

const ms = time.Millisecond

// TestQueries: do this, expect exactly these events.
func TestQueries(t *testing.T) {
	a := ask(1, "www.example.com", dns.TypeA)
	const answerA = "www.example.com. 60 IN A 198.51.100.1"
	for _, test := range []struct {
		name string
		do   func(w *world)
		want []string
		lost map[string]uint64
	}{
		{name: "an answer", do: func(w *world) {
			w.sends(alice, server1, a)
			w.later(10 * ms)
			w.gets(alice, server1, reply(a, dns.RcodeSuccess, answerA, "www.example.com. 60 IN A 198.51.100.2"))
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 10ms, A 198.51.100.1 60, A 198.51.100.2 60"}},
		{name: "AAAA only", do: func(w *world) {
			q := ask(2, "v6.example.com", dns.TypeAAAA)
			w.sends(alice, server2, q)
			w.gets(alice, server2, reply(q, dns.RcodeSuccess, "v6.example.com. 5 IN AAAA 2001:db8::1"))
		}, want: []string{"dns/udp v6.example.com AAAA by 10: 1x[2001:db8::53] answered NOERROR in 0s, AAAA 2001:db8::1 5"}},
		{name: "a chain of aliases", do: func(w *world) {
			w.sends(alice, server1, a)
			w.gets(alice, server1, reply(a, dns.RcodeSuccess, "www.example.com. 300 IN CNAME CDN.Example.net.", "cdn.example.net. 20 IN CNAME e1.example.org.", "e1.example.org. 60 IN A 198.51.100.1"))
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 0s, CNAME cdn.example.net 300, CNAME e1.example.org 20, A 198.51.100.1 60"}},
		{name: "other types", do: func(w *world) {
			q := ask(1, "example.com", dns.TypeANY)
			w.sends(alice, server1, q)
			w.gets(alice, server1, reply(q, dns.RcodeSuccess, "example.com. 1 IN MX 10 mail.example.com.", `example.com. 2 IN TXT "a b" "c\"d"`, "example.com. 3 IN HTTPS 1 . alpn=h2", "example.com. 4 IN TYPE65400 \\# 2 abcd"))
		}, want: []string{`dns/udp example.com ANY by 10: 1x[192.0.2.53] answered NOERROR in 0s, MX 10 mail.example.com. 1, TXT "a b" "c\"d" 2, HTTPS 1 . alpn="h2" 3, TYPE65400 \# 2 abcd 4`}},
		{name: "NXDOMAIN, SERVFAIL and no data", do: func(w *world) {
			for i, rcode := range []int{dns.RcodeNameError, dns.RcodeServerFailure, dns.RcodeSuccess} {
				q := ask(uint16(i), "no.example.com", dns.TypeA)
				w.sends(alice, server1, q)
				w.gets(alice, server1, reply(q, rcode))
			}
		}, want: []string{
			"dns/udp no.example.com A by 10: 1x[192.0.2.53] answered NXDOMAIN in 0s",
			"dns/udp no.example.com A by 10: 1x[192.0.2.53] answered SERVFAIL in 0s",
			"dns/udp no.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 0s"}},
		{name: "FORMERR without a question", do: func(w *world) {
			w.sends(alice, server1, a)
			r := reply(a, dns.RcodeSuccess)
			r.Question = nil
			w.gets(alice, server1, r) // says nothing
			r.Rcode = dns.RcodeFormatError
			w.gets(alice, server1, r)
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] answered FORMERR in 0s"}},
		{name: "EDNS with an extended rcode", do: func(w *world) {
			q := a.Copy()
			q.SetEdns0(1232, true)
			w.sends(alice, server1, q)
			r := reply(q, dns.RcodeSuccess, answerA)
			r.SetEdns0(1232, true)
			r.Rcode = dns.RcodeBadVers
			w.gets(alice, server1, r)
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] answered BADVERS in 0s, A 198.51.100.1 60"}},
		{name: "letters in random case", do: func(w *world) {
			q := ask(1, "wWw.eXAMPLE.com", dns.TypeA)
			w.sends(alice, server1, q)
			w.gets(alice, server1, reply(ask(1, "WwW.example.COM", dns.TypeA), dns.RcodeSuccess, "WwW.example.COM. 1 IN A 198.51.100.1"))
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 0s, A 198.51.100.1 1"}},
		{name: "retries to the same server, with the same message", do: func(w *world) {
			w.sends(alice, server1, a)
			w.later(5 * time.Second)
			w.sends(alice, server1, a)
			w.later(5 * time.Second)
			w.sends(alice, server1, a)
			w.later(time.Second)
			w.gets(alice, server1, reply(a, dns.RcodeSuccess, answerA))
			w.gets(alice, server1, reply(a, dns.RcodeSuccess, answerA))
		}, want: []string{"dns/udp www.example.com A by 10: 3x[192.0.2.53] answered NOERROR in 11s, A 198.51.100.1 60"}},
		{name: "retries to others, from new sockets, with new IDs; the first still answers", do: func(w *world) {
			b := ask(2, "www.example.com", dns.TypeA)
			w.sends(alice, server1, a)
			w.later(time.Second)
			w.sends(aliceToo, server2, b)
			w.sends(aliceToo, server1, b)
			w.later(time.Second)
			w.gets(alice, server1, reply(a, dns.RcodeSuccess, answerA))
			w.gets(aliceToo, server2, reply(b, dns.RcodeNameError))
		}, want: []string{"dns/udp www.example.com A by 10: 3x[192.0.2.53 2001:db8::53] answered NOERROR in 2s, A 198.51.100.1 60"}},
		{name: "no answer, 5.5 s after the last transmission", do: func(w *world) {
			w.sends(alice, server1, a)
			w.later(5 * time.Second)
			w.sends(alice, server1, a)
			w.later(wait)
			if len(w.told) != 0 {
				w.t.Error("it is told too early")
			}
			w.later(1)
			w.later(ms)
			w.gets(alice, server1, reply(a, dns.RcodeSuccess, answerA)) // late
		}, want: []string{"dns/udp www.example.com A by 10: 2x[192.0.2.53] no_answer"}},
		{name: "no answer, while packets were missing", do: func(w *world) {
			w.sends(alice, server1, a)
			w.later(time.Second)
			w.Gap(w.now)
			w.later(wait)
			w.sends(alice, server1, a)
			w.later(wait + 1)
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] unfinished", "dns/udp www.example.com A by 10: 1x[192.0.2.53] no_answer"}},
		{name: "late, before the tick that gives it up", do: func(w *world) {
			w.sends(alice, server1, a)
			w.now += wait + 1
			w.gets(alice, server1, reply(a, dns.RcodeSuccess, answerA))
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] no_answer"}},
		{name: "asked again after the time is over", do: func(w *world) {
			w.sends(alice, server1, a)
			w.now += wait + 1
			w.sends(alice, server1, a)
			w.gets(alice, server1, reply(a, dns.RcodeSuccess, answerA))
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] no_answer", "dns/udp www.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 0s, A 198.51.100.1 60"}},
		{name: "answers of others are none", do: func(w *world) {
			w.sends(alice, server1, a)
			w.gets(alice, netip.MustParseAddrPort("192.0.2.53:5353"), reply(a, dns.RcodeSuccess, answerA)) // another port
			w.gets(alice, server1, reply(ask(2, "www.example.com", dns.TypeA), dns.RcodeSuccess, answerA)) // another ID
			w.gets(alice, server1, reply(ask(1, "www.example.net", dns.TypeA), dns.RcodeSuccess))          // another name
			w.gets(alice, server1, reply(ask(1, "www.example.com", dns.TypeAAAA), dns.RcodeSuccess))       // another type
			w.gets(bob, server1, reply(a, dns.RcodeSuccess, answerA))                                      // another socket
			w.gets(alice, server1, a)                                                                      // a question
			w.later(time.Minute)
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] no_answer"}},
		{name: "an answer from a translated address", do: func(w *world) {
			w.sends(alice, server1, a)
			w.later(ms)
			w.gets(alice, server2, reply(a, dns.RcodeSuccess, answerA))
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 1ms, A 198.51.100.1 60"}},
		{name: "two processes ask the same", do: func(w *world) {
			w.sends(alice, server1, a)
			w.sends(bob, server1, a)
			w.later(ms)
			w.gets(bob, server1, reply(a, dns.RcodeSuccess, answerA))
			w.later(ms)
			w.gets(alice, server1, reply(a, dns.RcodeSuccess, answerA))
		}, want: []string{"dns/udp www.example.com A by 20: 1x[192.0.2.53] answered NOERROR in 1ms, A 198.51.100.1 60", "dns/udp www.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 2ms, A 198.51.100.1 60"}},
		{name: "two whose process is not known", do: func(w *world) {
			for _, who := range []who{alice, aliceToo} {
				p := w.packet(who, server1, true, pack(w.t, a))
				p.Process = nil
				w.Packet(p)
			}
			w.later(time.Minute)
		}, want: []string{"dns/udp www.example.com A by 0: 1x[192.0.2.53] no_answer", "dns/udp www.example.com A by 0: 1x[192.0.2.53] no_answer"}},
		{name: "A and AAAA at once, from one socket, answered in the other order", do: func(w *world) {
			aaaa := ask(2, "www.example.com", dns.TypeAAAA)
			w.sends(alice, server1, a)
			w.sends(alice, server1, aaaa)
			w.gets(alice, server1, reply(aaaa, dns.RcodeSuccess))
			w.gets(alice, server1, reply(a, dns.RcodeSuccess, answerA))
		}, want: []string{"dns/udp www.example.com AAAA by 10: 1x[192.0.2.53] answered NOERROR in 0s", "dns/udp www.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 0s, A 198.51.100.1 60"}},
		{name: "truncated, then over TCP", do: func(w *world) {
			w.sends(alice, server1, a)
			r := reply(a, dns.RcodeSuccess)
			r.Truncated = true
			w.gets(alice, server1, r)
			c := conversation{w, aliceToo, 1000, 2000}
			c.sends(a)
			w.later(ms)
			c.gets(reply(a, dns.RcodeSuccess, answerA))
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 0s truncated", "dns/tcp www.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 1ms, A 198.51.100.1 60"}},
		{name: "a server that notifies, and one that updates", do: func(w *world) {
			for _, opcode := range []int{dns.OpcodeNotify, dns.OpcodeUpdate, dns.OpcodeStatus} {
				q := a.Copy()
				q.Opcode = opcode
				w.sends(alice, server1, q)
			}
		}},
		{name: "more answers than are kept", do: func(w *world) {
			w.sends(alice, server1, a)
			r := reply(a, dns.RcodeSuccess)
			for range 100 {
				rr, _ := dns.NewRR(answerA)
				r.Answer = append(r.Answer, rr)
			}
			w.gets(alice, server1, r)
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 0s" + strings.Repeat(", A 198.51.100.1 60", event.MaxAnswers) + " of 100"}},
		{name: "an answer that is cut", do: func(w *world) {
			w.sends(alice, server1, a)
			p := w.packet(alice, server1, false, pack(w.t, reply(a, dns.RcodeSuccess, answerA, "www.example.com. 60 IN A 198.51.100.2")))
			p.Data = p.Data[:len(p.Data)-1]
			w.Packet(p)
			p.Sequence, p.Data = uint32(len(p.Data)), []byte{2} // its rest
			w.Packet(p)
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] answered NOERROR in 0s, A 198.51.100.1 60 of 2"}, lost: map[string]uint64{CauseCut: 1}},
		{name: "an answer that is malformed", do: func(w *world) {
			w.sends(alice, server1, a)
			data := pack(w.t, reply(a, dns.RcodeNameError, answerA))
			w.Packet(w.packet(alice, server1, false, data[:len(data)-1]))
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] answered NXDOMAIN in 0s of 1"}, lost: map[string]uint64{CauseMalformed: 1}},
		{name: "the root, and an odd class and type", do: func(w *world) {
			q := ask(1, ".", dns.TypeNS)
			w.sends(alice, server1, q)
			w.gets(alice, server1, reply(q, dns.RcodeSuccess, ". 10 IN NS A.Root-Servers.Net."))
			q = ask(1, ".", 65399)
			q.Question[0].Qclass = 0x8001
			w.sends(alice, server1, q)
			w.gets(alice, server1, reply(q, dns.RcodeRefused))
		}, want: []string{"dns/udp . NS by 10: 1x[192.0.2.53] answered NOERROR in 0s, NS a.root-servers.net 10", "dns/udp . TYPE65399 by 10: 1x[192.0.2.53] answered REFUSED in 0s"}},
		{name: "mDNS, asked once from any port", do: func(w *world) {
			q := ask(7, "printer.local", dns.TypeA)
			w.sends(alice, group, q)
			w.later(20 * ms)
			w.gets(bob, printer, reply(q, dns.RcodeSuccess, "printer.local. 10 IN A 192.0.2.66")) // not for this socket
			w.gets(alice, printer, reply(q, dns.RcodeSuccess, "printer.local. 10 IN A 192.0.2.77"))
		}, want: []string{"mdns/udp printer.local A by 10: 1x[224.0.0.251] answered NOERROR in 20ms, A 192.0.2.77 10"}},
		{name: "mDNS, asked for all to hear, answered to all", do: func(w *world) {
			q := ask(0, "printer.local", dns.TypeA)
			q.Question = append(q.Question, dns.Question{Name: "printer.local.", Qtype: dns.TypeAAAA, Qclass: 0x8001})
			w.sends(responder, group, q)
			r := reply(q, dns.RcodeSuccess, "other.local. 10 IN A 192.0.2.66", "Printer.local. 120 IN A 192.0.2.77")
			r.Question = nil
			w.later(20 * ms)
			w.gets(who{0, 999, 5353}, printer, r) // any socket of the namespace
			w.gets(responder, printer, r)         // the same once more
			w.later(time.Minute)
		}, want: []string{"mdns/udp printer.local A by 30: 1x[224.0.0.251] answered NOERROR in 20ms, A 192.0.2.77 120 of 2", "mdns/udp printer.local AAAA by 30: 1x[224.0.0.251] no_answer"}},
		{name: "mDNS in another namespace does not answer", do: func(w *world) {
			q := ask(0, "printer.local", dns.TypeA)
			w.sends(responder, group, q)
			r := reply(q, dns.RcodeSuccess, "printer.local. 120 IN A 192.0.2.77")
			p := w.packet(who{0, 999, 5353}, printer, false, pack(w.t, r))
			p.Netns = 2
			w.Packet(p)
			w.later(time.Minute)
		}, want: []string{"mdns/udp printer.local A by 30: 1x[224.0.0.251] no_answer"}},
		{name: "a service, and its negative answer", do: func(w *world) {
			q := ask(0, "_ipp._tcp.local", dns.TypePTR)
			w.sends(responder, group, q)
			r := reply(q, dns.RcodeSuccess, `_ipp._tcp.local. 4500 IN PTR My\032Printer\0321\.2._ipp._tcp.local.`)
			r.Question = nil
			w.gets(responder, printer, r)
			q = ask(0, "printer.local", dns.TypeAAAA)
			w.sends(responder, group, q)
			r = reply(q, dns.RcodeSuccess, `printer.local. 120 IN NSEC printer.local. A`)
			r.Question = nil
			w.gets(responder, printer, r)
		}, want: []string{`mdns/udp _ipp._tcp.local PTR by 30: 1x[224.0.0.251] answered NOERROR in 0s, PTR my\ printer\ 1\.2._ipp._tcp.local 4500`,
			"mdns/udp printer.local AAAA by 30: 1x[224.0.0.251] answered NOERROR in 0s, NSEC printer.local. A 120"}},
		{name: "what a responder of mDNS does by itself", do: func(w *world) {
			probe := ask(0, "host.local", dns.TypeANY)
			rr, _ := dns.NewRR("host.local. 120 IN A 192.0.2.10")
			probe.Ns = append(probe.Ns, rr)
			w.sends(responder, group, probe)
			w.gets(responder, netip.MustParseAddrPort("192.0.2.10:5353"), probe) // which it hears itself
			announcement := reply(ask(0, "host.local", dns.TypeA), dns.RcodeSuccess, "host.local. 120 IN A 192.0.2.10")
			w.sends(responder, group, announcement)
			w.gets(responder, netip.MustParseAddrPort("192.0.2.10:5353"), announcement)
			w.gets(responder, printer, ask(0, "host.local", dns.TypeA)) // is asked
			w.sends(responder, printer, announcement)
		}},
		{name: "other ports", do: func(w *world) {
			w.sends(alice, netip.MustParseAddrPort("192.0.2.53:54"), a)
			p := w.packet(alice, printer, true, pack(w.t, a))
			p.Transport = event.TransportTCP
			w.Packet(p)
		}},
		{name: "the sensor ends", do: func(w *world) {
			w.sends(alice, server1, a)
			w.now += time.Second
			w.Close(w.now)
		}, want: []string{"dns/udp www.example.com A by 10: 1x[192.0.2.53] unfinished"}, lost: map[string]uint64{CauseQueryUnfinished: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, DefaultLimits())
			test.do(w)
			w.expect(test.lost, test.want...)
		})
	}
}

// TestNoRoom: the oldest query makes room, as what it is.
func TestNoRoom(t *testing.T) {
	w := newWorld(t, Limits{Queries: 2, Streams: 1, Buffered: 1})
	for i := range 3 {
		w.sends(alice, server1, ask(uint16(i), fmt.Sprintf("h%d.example.com", i), dns.TypeA))
	}
	w.later(time.Minute)
	w.expect(map[string]uint64{CauseQueryEvicted: 1}, "dns/udp h0.example.com A by 10: 1x[192.0.2.53] unfinished",
		"dns/udp h1.example.com A by 10: 1x[192.0.2.53] no_answer", "dns/udp h2.example.com A by 10: 1x[192.0.2.53] no_answer")
}

// TestOneAnswerForAll: who asks everything with the same ID makes nobody look through
// thousands of queries.
func TestOneAnswerForAll(t *testing.T) {
	for name, from := range map[string]who{"to be heard by one": alice, "by all": responder} {
		w := newWorld(t, DefaultLimits())
		server, most := server1, 0
		if from == responder {
			server = group
		}
		for i := range 1000 {
			q := ask(1, "www.local", uint16(i+1000))
			if from == alice {
				q = ask(1, fmt.Sprintf("h%d.example.com", i), dns.TypeA)
			}
			w.sends(from, server, q)
			for _, list := range w.exchanges {
				most = max(most, len(list))
			}
			for _, list := range w.heard {
				most = max(most, len(list))
			}
		}
		if most != mostShared || w.Lost()[CauseQueryEvicted] != 1000-mostShared || len(w.told) != 1000-mostShared || w.Waiting() != mostShared {
			t.Errorf("%s: %d share, %d were told, %d wait, %v", name, most, len(w.told), w.Waiting(), w.Lost())
		}
	}
}

// TestQueryIsWhole looks at what the lines of TestQueries leave out.
func TestQueryIsWhole(t *testing.T) {
	var q Query
	tracker := NewTracker(DefaultLimits(), func(told *Query) {
		if q = *told; q.Event.Name == "" {
			t.Error("no name")
		}
		q.Addresses = append([]Address(nil), told.Addresses...)
	})
	w := &world{t: t, now: time.Hour, Tracker: tracker}
	a := ask(7, "www.example.com", dns.TypeA)
	w.sends(alice, server1, a)
	w.later(1500 * time.Microsecond)
	w.gets(alice, server1, reply(a, dns.RcodeSuccess, "cdn.example.net. 30 IN A 198.51.100.1", "stray.example.org. 30 IN A 198.51.100.9", "www.example.com. 20 IN CNAME cdn.example.net."))
	e := q.Event
	if e.Netns != 1 || e.Family != "ipv4" || e.SourceAddress != client || e.SourcePort != 40000 || e.DestinationAddress != server1.Addr() || e.DestinationPort != 53 ||
		e.Class != "IN" || e.ID != event.Some(uint32(7)) || e.ConnectionID != event.Some(uint64(100)) || e.Truncated != event.Some(false) {
		t.Errorf("%+v", e)
	}
	if q.Began != time.Hour || q.Ended != time.Hour+1500*time.Microsecond {
		t.Errorf("from %v to %v", q.Began, q.Ended)
	}
	// Through the alias, whose TTL is less; what nothing leads to is none.
	if len(q.Addresses) != 1 || q.Addresses[0] != (Address{netip.MustParseAddr("198.51.100.1"), 20 * time.Second}) {
		t.Errorf("addresses %v", q.Addresses)
	}
}

func TestSession(t *testing.T) {
	c := &event.NetworkConnect{Ends: event.Ends{Transport: "tcp", DestinationAddress: server1.Addr(), DestinationPort: 853}, Result: event.ResultOK, ConnectionID: event.Some(uint64(9))}
	c.SensorID, c.Sequence = "s1", 5
	q := Session(c)
	if q == nil || q.Protocol != event.ProtocolDoT || q.Result != event.DNSEncrypted || q.Name != "" || q.SensorID != "s1" || q.Sequence != 0 || q.ConnectionID != c.ConnectionID || q.Servers[0] != "192.0.2.53" {
		t.Errorf("%+v", q)
	}
	for _, change := range []func(*event.NetworkConnect){
		func(c *event.NetworkConnect) { c.Result = "refused" }, func(c *event.NetworkConnect) { c.Transport = "udp" }, func(c *event.NetworkConnect) { c.DestinationPort = 443 }} {
		other := *c
		if change(&other); Session(&other) != nil {
			t.Errorf("%+v is a session", other)
		}
	}
}
