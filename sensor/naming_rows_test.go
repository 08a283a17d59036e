package sensor

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// asks is a question to dnsmasq, which asks unbound the same.
func asks(who, question, answer string) []string {
	return []string{fmt.Sprintf("query udp %s @127.0.0.1 %s by %s", question, answer, who), fmt.Sprintf("query udp %s @127.0.0.2 %s by dnsmasq", question, answer)}
}

// asksBoth is a question for addresses of each family, of glibc over one socket.
func asksBoth(who, name, a, aaaa string) []string {
	return slices.Concat([]string{"connect udp 127.0.0.1:53 - by " + who}, asks(who, name+" A", a), asks(who, name+" AAAA", aaaa))
}

// digs is a question of dig, which looks its server up.
func digs(question, answer string) []string {
	return slices.Concat([]string{"connect udp 127.0.0.1:53 - by dig", "lookup 127.0.0.1 ok 127.0.0.1 by dig"}, asks("dig", question, answer))
}

// reaches is a connection to a name, which is shown in a snapshot.
func reaches(who, address, name, source string) []string {
	return slices.Concat(visits(who, address, name, source), []string{"connection " + address + " " + name, "live flow " + address + " " + name})
}

// visits is one that none shows.
func visits(who, address, name, source string) []string {
	return []string{fmt.Sprintf("connect tcp %s %s by %s", address, name, who), fmt.Sprintf("flow %s %s by %s", address, name, who),
		fmt.Sprintf("resolution %s %s %s by %s", address, name, source, who)}
}

// unnamed is a connection to an address that has no name.
func unnamed(who, address string) []string {
	return []string{fmt.Sprintf("connect tcp %s - by %s", address, who), fmt.Sprintf("flow %s - by %s", address, who), "connection " + address + " -", "live flow " + address + " -"}
}

const (
	oneA  = "NOERROR A 10.77.0.1 60"
	twoA  = "NOERROR A 10.77.0.2 60 A 10.77.0.3 60"
	chain = "NOERROR CNAME middle.test 300 CNAME end.test 20"
	bigA  = "NOERROR CNAME l.l.l.1.test 60 CNAME l.l.l.2.test 60 CNAME l.l.l.3.test 60 A 10.77.0.24 60"
)

// TestNaming: do this, expect exactly these events.
func TestNaming(t *testing.T) {
	th := newTheatre(t)
	for _, r := range []struct {
		name string
		conf string // of the resolver, where it is another
		do   func()
		want []string
	}{
		// Programs, each with its resolver.
		{name: "C", do: func() { th.client("c", "one.test", "9000") },
			want: slices.Concat(asksBoth("c", "one.test", oneA, "NOERROR"), []string{"lookup one.test ok 10.77.0.1 by c"}, reaches("c", "10.77.0.1", "one.test", "own getaddrinfo"))},
		{name: "C with musl", do: func() { th.client("musl", "one.test", "9000") }, // by sockets that are not connected
			want: slices.Concat(asksBoth("musl", "one.test", oneA, "NOERROR")[1:], []string{"lookup one.test ok 10.77.0.1 by musl"}, reaches("musl", "10.77.0.1", "one.test", "own getaddrinfo"))},
		{name: "Go", do: func() { th.client("go", "one.test", "9000") }, // by a socket for each
			want: slices.Concat(asksBoth("go", "one.test", oneA, "NOERROR"), []string{"connect udp 127.0.0.1:53 - by go"}, reaches("go", "10.77.0.1", "one.test", "own dns_answer 60"))},
		{name: "Go with cgo", do: func() { th.client("cgo", "one.test", "9000") },
			want: slices.Concat(asksBoth("cgo", "one.test", oneA, "NOERROR"), []string{"lookup one.test ok 10.77.0.1 by cgo"}, reaches("cgo", "10.77.0.1", "one.test", "own getaddrinfo"))},
		{name: "Python", do: func() { th.python(th.here, "open one.test 9000") },
			want: slices.Concat(asksBoth("python3", "one.test", oneA, "NOERROR"), []string{"lookup one.test ok 10.77.0.1 by python3"}, reaches("python3", "10.77.0.1", "one.test", "own getaddrinfo"))},
		{name: "a datagram", do: func() { th.python(th.here, "send one.test 9000") },
			want: slices.Concat(asks("python3", "one.test A", oneA), []string{"connect udp 127.0.0.1:53 - by python3", "lookup one.test ok 10.77.0.1 by python3",
				"connect udp 10.77.0.1 one.test by python3", "resolution 10.77.0.1 one.test own getaddrinfo by python3"})},

		// What is answered.
		{name: "AAAA only", do: func() { th.client("c", "six.test", "9000") },
			want: slices.Concat(asksBoth("c", "six.test", "NOERROR", "NOERROR AAAA fd00:77::6 60"), []string{"lookup six.test ok fd00:77::6 by c"}, reaches("c", "fd00:77::6", "six.test", "own getaddrinfo"))},
		// Sockets by which addresses are sorted are no connections.
		{name: "two addresses, of which the second listens", do: func() { th.client("c", "two.test", "9001") },
			want: slices.Concat(asksBoth("c", "two.test", twoA, "NOERROR"), []string{"lookup two.test ok 10.77.0.2 10.77.0.3 by c",
				"connect tcp 10.77.0.2:9001 two.test refused by c", "flow 10.77.0.2:9001 two.test by c", "resolution 10.77.0.2:9001 two.test own getaddrinfo by c"},
				reaches("c", "10.77.0.3:9001", "two.test", "own getaddrinfo"))},
		{name: "the same in Go", do: func() { th.client("go", "two.test", "9001") },
			want: slices.Concat(asksBoth("go", "two.test", twoA, "NOERROR"), []string{"connect udp 127.0.0.1:53 - by go",
				"connect tcp 10.77.0.2:9001 two.test refused by go", "flow 10.77.0.2:9001 two.test by go", "resolution 10.77.0.2:9001 two.test own dns_answer 60 by go"},
				reaches("go", "10.77.0.3:9001", "two.test", "own dns_answer 60"))},
		{name: "a chain of aliases", do: func() { th.client("go", "chain.test", "9000") },
			want: slices.Concat(asksBoth("go", "chain.test", chain+" A 10.77.0.5 60", chain), []string{"connect udp 127.0.0.1:53 - by go"}, reaches("go", "10.77.0.5", "chain.test", "own dns_answer 20"))},
		{name: "letters of both cases", do: func() { th.client("c", "OnE.tEsT", "9000") },
			want: slices.Concat(asksBoth("c", "one.test", oneA, "NOERROR"), []string{"lookup one.test ok 10.77.0.1 by c"}, reaches("c", "10.77.0.1", "one.test", "own getaddrinfo"))},
		{name: "255 octets", do: func() { th.client("c", longName, "9000") },
			want: slices.Concat(asksBoth("c", "LONG", "NOERROR A 10.77.0.22 60", "NOERROR"), []string{"lookup LONG ok 10.77.0.22 by c"}, reaches("c", "10.77.0.22", "LONG", "own getaddrinfo"))},
		{name: "no such name", do: func() { th.dig("absent.test") }, want: digs("absent.test A", "NXDOMAIN")},
		{name: "no address", do: func() { th.dig("none.test", "AAAA") }, want: digs("none.test AAAA", "NOERROR")},
		{name: "a server that fails", do: func() { th.dig("x.broken") }, want: digs("x.broken A", "SERVFAIL")},
		{name: "a server that refuses", do: func() { th.dig("x.refused.test") }, want: digs("x.refused.test A", "REFUSED")},

		// How it is asked.
		{name: "EDNS", do: func() { th.dig("many.test") }, want: digs("many.test A", "NOERROR 40 answers")},
		{name: "TCP, after what was truncated", do: func() { th.dig("+noedns", "many.test") },
			want: slices.Concat(digs("many.test A", "NOERROR truncated"), []string{"connect tcp 127.0.0.1:53 - by dig", "flow 127.0.0.1:53 - by dig", "connect tcp 127.0.0.2:53 - by dnsmasq", "flow 127.0.0.2:53 - by dnsmasq",
				"query tcp many.test A @127.0.0.1 NOERROR 40 answers by dig", "query tcp many.test A @127.0.0.2 NOERROR 40 answers by dnsmasq"})},
		{name: "the same by glibc", do: func() { th.python(th.here, "lookup big.test", "connect 10.77.0.24 9000") },
			want: slices.Concat([]string{"connect udp 127.0.0.1:53 - by python3", "query udp big.test A @127.0.0.1 NOERROR truncated by python3", "query udp big.test A @127.0.0.2 NOERROR truncated CNAME l.l.l.1.test 60 CNAME l.l.l.2.test 60 by dnsmasq",
				"connect tcp 127.0.0.1:53 - by python3", "flow 127.0.0.1:53 - by python3",
				"connect tcp 127.0.0.2:53 - by dnsmasq", "flow 127.0.0.2:53 - by dnsmasq", "query tcp big.test A @127.0.0.1 " + bigA + " by python3", "query tcp big.test A @127.0.0.2 " + bigA + " by dnsmasq",
				"lookup big.test ok 10.77.0.24 by python3"}, reaches("python3", "10.77.0.24", "big.test", "own getaddrinfo"))},
		{name: "TCP", do: func() { th.dig("+tcp", "one.test") },
			want: []string{"lookup 127.0.0.1 ok 127.0.0.1 by dig", "connect tcp 127.0.0.1:53 - by dig", "flow 127.0.0.1:53 - by dig", "connect tcp 127.0.0.2:53 - by dnsmasq", "flow 127.0.0.2:53 - by dnsmasq",
				"query tcp one.test A @127.0.0.1 " + oneA + " by dig", "query tcp one.test A @127.0.0.2 " + oneA + " by dnsmasq"}},
		{name: "TCP, two questions over a connection", do: func() { th.dig("+tcp", "+keepopen", "@127.0.0.2", "one.test", "two.test") },
			want: []string{"lookup 127.0.0.1 ok 127.0.0.1 by dig", "connect tcp 127.0.0.2:53 - by dig", "flow 127.0.0.2:53 - by dig",
				"query tcp one.test A @127.0.0.2 " + oneA + " by dig", "query tcp two.test A @127.0.0.2 " + twoA + " by dig"}},
		{name: "TCP, two questions at a time", conf: "nameserver 127.0.0.2\noptions use-vc\n", do: func() { th.client("c", "one.test", "9000") },
			want: slices.Concat([]string{"connect tcp 127.0.0.2:53 - by c", "flow 127.0.0.2:53 - by c", "query tcp one.test A @127.0.0.2 " + oneA + " by c", "query tcp one.test AAAA @127.0.0.2 NOERROR by c", "lookup one.test ok 10.77.0.1 by c"},
				reaches("c", "10.77.0.1", "one.test", "own getaddrinfo"))},
		{name: "a server by IPv6", conf: "nameserver ::1\n", do: func() { th.client("c", "one.test", "9000") },
			want: slices.Concat([]string{"connect udp [::1]:53 - by c", "query udp one.test A @::1 " + oneA + " by c", "query udp one.test AAAA @::1 NOERROR by c",
				"query udp one.test A @127.0.0.2 " + oneA + " by dnsmasq", "query udp one.test AAAA @127.0.0.2 NOERROR by dnsmasq", "lookup one.test ok 10.77.0.1 by c"}, reaches("c", "10.77.0.1", "one.test", "own getaddrinfo"))},
		{name: "domains to search", conf: "nameserver 127.0.0.2\nsearch deep.test more.test\n", do: func() { th.client("c", "deep", "9000") },
			want: slices.Concat([]string{"connect udp 127.0.0.2:53 - by c", "query udp deep.deep.test A @127.0.0.2 NXDOMAIN by c", "query udp deep.deep.test AAAA @127.0.0.2 NXDOMAIN by c",
				"connect udp 127.0.0.2:53 - by c", "query udp deep.more.test A @127.0.0.2 NOERROR A 10.77.0.19 60 by c", "query udp deep.more.test AAAA @127.0.0.2 NOERROR by c", "lookup deep ok 10.77.0.19 by c"},
				reaches("c", "10.77.0.19", "deep", "own getaddrinfo also [deep.more.test]"))},
		{name: "letters in random case, of unbound", do: func() { th.dig("@127.0.0.2", "hidden.caps") },
			want: []string{"lookup 127.0.0.1 ok 127.0.0.1 by dig", "connect udp 127.0.0.2:53 - by dig", "query udp hidden.caps A @127.0.0.2 NOERROR A 10.77.0.23 0 by dig",
				"connect udp 127.0.0.1:53 - by unbound", "query udp hidden.caps A @127.0.0.1 NOERROR A 10.77.0.23 0 by unbound"}},
		{name: "two processes", do: func() { th.here.run("sh", "-c", "dig @127.0.0.2 one.test & dig @127.0.0.2 one.test & wait") },
			want: []string{"lookup 127.0.0.1 ok 127.0.0.1 by dig", "connect udp 127.0.0.2:53 - by dig", "query udp one.test A @127.0.0.2 " + oneA + " by dig",
				"lookup 127.0.0.1 ok 127.0.0.1 by dig", "connect udp 127.0.0.2:53 - by dig", "query udp one.test A @127.0.0.2 " + oneA + " by dig"}},
		{name: "repeated, since the first is dropped", do: func() { th.dig("+timeout=1", "@127.0.0.6", "one.test") },
			want: []string{"lookup 127.0.0.1 ok 127.0.0.1 by dig", "connect udp 127.0.0.6:53 - by dig", "connect udp 127.0.0.6:53 - by dig", "query udp one.test A @127.0.0.6 2x " + oneA + " by dig"}},
		{name: "addresses that are translated, as Docker does", conf: "nameserver 127.0.0.11\n", do: func() { th.client("c", "one.test", "9000") },
			want: slices.Concat([]string{"connect udp 127.0.0.11:53 - by c", "query udp one.test A @127.0.0.11 " + oneA + " by c", "query udp one.test AAAA @127.0.0.11 NOERROR by c", "lookup one.test ok 10.77.0.1 by c"},
				reaches("c", "10.77.0.1", "one.test", "own getaddrinfo"))},
		{name: "the same by sockets that are not connected", conf: "nameserver 127.0.0.11\n", do: func() { th.client("musl", "one.test", "9000") }, // docs/dns.md
			want: slices.Concat([]string{"lookup one.test ok 10.77.0.1 by musl"}, reaches("musl", "10.77.0.1", "one.test", "own getaddrinfo"))},
		{name: "TLS", do: func() {
			th.here.serveTLS("127.0.0.4:853")
			th.dig("+tls", "@127.0.0.4", "one.test")
		}, want: []string{"lookup 127.0.0.1 ok 127.0.0.1 by dig", "connect tcp 127.0.0.4:853 - by dig", "flow 127.0.0.4:853 - by dig", "dot query tcp - - @127.0.0.4 encrypted by dig"}},
		{name: "mDNS", do: func() {
			th.here.respond()
			th.python(th.here, "multicast printer.local", "connect 10.77.0.25 9000")
		}, want: slices.Concat([]string{"mdns query udp printer.local A @224.0.0.251 NOERROR A 10.77.0.25 120 by python3"}, reaches("python3", "10.77.0.25", "printer.local", "own dns_answer 120"))},

		// Whose name it is.
		{name: "/etc/hosts", do: func() { th.client("c", "filed.test", "9000") },
			want: slices.Concat([]string{"lookup filed.test ok 10.77.0.20 by c"}, reaches("c", "10.77.0.20", "filed.test", "own getaddrinfo"))},
		{name: "an address that nobody looked up", do: func() { th.python(th.here, "connect 10.77.0.99 9000") }, want: unnamed("python3", "10.77.0.99")},
		{name: "what another process looked up", do: func() {
			th.dig("shared.test")
			th.python(th.here, "connect 10.77.0.11 9000")
		}, want: slices.Concat(digs("shared.test A", "NOERROR A 10.77.0.11 60"), reaches("python3", "10.77.0.11", "shared.test", "other dns_answer 60"))},
		{name: "in another network, a private address", do: func() { th.python(th.there, "connect 10.77.0.11 9000") }, want: unnamed("python3", "10.77.0.11")},
		{name: "in another network, a public address", do: func() {
			th.dig("public.test")
			th.python(th.there, "connect 198.51.100.12 9000")
		}, want: slices.Concat(digs("public.test A", "NOERROR A 198.51.100.12 60"), reaches("python3", "198.51.100.12", "public.test", "other dns_answer 60"))},
		{name: "what another process looked up, after the TTL", do: func() {
			th.dig("short.test")
			time.Sleep(1100 * time.Millisecond)
			th.python(th.here, "connect 10.77.0.9 9000")
		}, want: slices.Concat(digs("short.test A", "NOERROR A 10.77.0.9 1"), unnamed("python3", "10.77.0.9"))},
		{name: "its own, after the TTL", do: func() {
			a := th.here.start("python3", "-u", "testdata/client.py").do("lookup own.test")
			time.Sleep(1100 * time.Millisecond)
			a.do("connect 10.77.0.10 9000")
			th.look()
			a.end()
		}, want: slices.Concat([]string{"connect udp 127.0.0.1:53 - by python3", "lookup own.test ok 10.77.0.10 by python3"}, asks("python3", "own.test A", "NOERROR A 10.77.0.10 1"), reaches("python3", "10.77.0.10", "own.test", "own getaddrinfo"))},
		{name: "its own, before those of others", do: func() {
			th.dig("before.test")
			a := th.here.start("python3", "-u", "testdata/client.py").do("lookup mine.test")
			th.dig("after.test")
			a.do("connect 10.77.0.13 9000")
			th.look()
			a.end()
		}, want: slices.Concat(digs("before.test A", "NOERROR A 10.77.0.13 60"), digs("after.test A", "NOERROR A 10.77.0.13 60"), asks("python3", "mine.test A", "NOERROR A 10.77.0.13 60"),
			[]string{"connect udp 127.0.0.1:53 - by python3", "lookup mine.test ok 10.77.0.13 by python3"}, reaches("python3", "10.77.0.13", "mine.test", "own getaddrinfo also [after.test before.test]"))},
		{name: "its parent's", do: func() { th.python(th.here, "lookup parent.test", "child connect 10.77.0.14 9000") },
			want: slices.Concat([]string{"connect udp 127.0.0.1:53 - by python3", "lookup parent.test ok 10.77.0.14 by python3"}, asks("python3", "parent.test A", "NOERROR A 10.77.0.14 60"), visits("python3", "10.77.0.14", "parent.test", "other dns_answer 60"))},
		{name: "its child's", do: func() { th.python(th.here, "child lookup child.test", "connect 10.77.0.15 9000") },
			want: slices.Concat([]string{"connect udp 127.0.0.1:53 - by python3", "lookup child.test ok 10.77.0.15 by python3"}, asks("python3", "child.test A", "NOERROR A 10.77.0.15 60"), reaches("python3", "10.77.0.15", "child.test", "other dns_answer 60"))},
		{name: "of one that had its pid", do: func() { th.client("c", "reused.test", "10.77.0.16", "9000") },
			want: slices.Concat(asksBoth("c", "reused.test", "NOERROR A 10.77.0.16 1", "NOERROR"), []string{"lookup reused.test ok 10.77.0.16 by c", "lookup 10.77.0.16 ok 10.77.0.16 by c"}, unnamed("c", "10.77.0.16"))},
	} {
		t.Run(r.name, func(t *testing.T) {
			th.row(t)
			if r.conf != "" {
				th.here.write("resolv.conf", r.conf)
				defer th.here.write("resolv.conf", etc["resolv.conf"])
			}
			r.do()
			th.expect(5*time.Second, r.want)
		})
	}
	th.t = t
	th.counted()
}

// TestNoAnswer: what is never answered is told 5.5 s after it was asked last.
func TestNoAnswer(t *testing.T) {
	th := newTheatre(t)
	th.here.write("resolv.conf", "nameserver 127.0.0.2\n")
	th.row(t)
	var programs []*exec.Cmd
	for _, arguments := range [][]string{
		{th.clients["c"], "glibc.mute.test", "9000"}, // which repeats after 5 s
		{"dig", "+tries=2", "+timeout=1", "dig.mute.test"},
		{"dig", "+tries=1", "+timeout=1", "@127.0.0.1", "forwarded.mute.test"},
		{"dig", "+tries=1", "+timeout=1", "@127.0.0.9", "nobody.test"},
	} {
		programs = append(programs, th.here.command(arguments...))
	}
	th.here.Do(t, func() (err error) {
		for _, p := range programs {
			err = errors.Join(err, p.Start())
		}
		return err
	})
	for _, p := range programs {
		_ = p.Wait() // that there is no answer is no good end
	}
	th.expect(10*time.Second, slices.Concat(
		[]string{"connect udp 127.0.0.2:53 - by c", "query udp glibc.mute.test A @127.0.0.2 2x no_answer by c", "query udp glibc.mute.test AAAA @127.0.0.2 2x no_answer by c", "lookup glibc.mute.test EAI_AGAIN by c"},
		[]string{"connect udp 127.0.0.2:53 - by dig", "connect udp 127.0.0.2:53 - by dig", "query udp dig.mute.test A @127.0.0.2 2x no_answer by dig"},
		[]string{"connect udp 127.0.0.1:53 - by dig", "query udp forwarded.mute.test A @127.0.0.1 no_answer by dig", "query udp forwarded.mute.test A @127.0.0.2 no_answer by dnsmasq"},
		[]string{"connect udp 127.0.0.9:53 - by dig", "query udp nobody.test A @127.0.0.9 no_answer by dig"},
		slices.Repeat([]string{"lookup 127.0.0.2 ok 127.0.0.2 by dig"}, 3)))
}
