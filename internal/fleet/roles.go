package fleet

import "slices"

// program is one that a host runs.
type program struct {
	name, binary, user string
	// workers are processes that share its connections.
	workers   int
	container bool
}

// Programs by number: roles refer to them so.
const (
	sshd = iota
	nodeExporter
	chronyd
	resolved
	nginx
	java
	postgres
	redis
	python
	named
	upf
	smf
	radiusd
	media
	envoy
	kernel // of a socket without a process
)

var programs = []program{
	sshd:         {"sshd", "/usr/sbin/sshd", "root", 1, false},
	nodeExporter: {"node_exporter", "/usr/bin/node_exporter", "prometheus", 1, false},
	chronyd:      {"chronyd", "/usr/sbin/chronyd", "_chrony", 1, false},
	resolved:     {"systemd-resolve", "/usr/lib/systemd/systemd-resolved", "systemd-resolve", 1, false},
	nginx:        {"nginx", "/usr/sbin/nginx", "www-data", 4, false},
	java:         {"java", "/usr/lib/jvm/java-21/bin/java", "1000", 1, true},
	postgres:     {"postgres", "/usr/lib/postgresql/17/bin/postgres", "postgres", 16, false},
	redis:        {"redis-server", "/usr/bin/redis-server", "redis", 1, true},
	python:       {"python3", "/usr/bin/python3.13", "1000", 8, true},
	named:        {"named", "/usr/sbin/named", "bind", 1, false},
	upf:          {"upf", "/usr/bin/upf", "root", 1, true},
	smf:          {"smf", "/usr/bin/smf", "root", 1, true},
	radiusd:      {"freeradius", "/usr/sbin/freeradius", "freerad", 1, false},
	media:        {"media-gateway", "/usr/bin/media-gateway", "media", 2, true},
	envoy:        {"envoy", "/usr/local/bin/envoy", "envoy", 1, true},
	kernel:       {workers: 1},
}

// netnsOf is the network namespace that a program runs in.
func netnsOf(program int) uint64 {
	if programs[program].container {
		return firstNetns + uint64(program)
	}
	return hostNetns
}

const (
	hostNetns  = 4026531840
	firstNetns = 4026532000
)

const gtpU = 2152

// listener is a socket that a role has as long as the host runs.
type listener struct {
	transport string
	address   string
	// port, or 0 for one that the kernel hands out.
	port    int
	program int
}

// talk is a sort of connection. Its port is that of the service, which the host
// itself offers where the talk is inbound.
type talk struct {
	inbound bool
	port    int
	program int
	// outside the fleet is where the peer is.
	outside bool
}

type role struct {
	name string
	// hosts of a hundred that have it.
	share     int
	listeners []listener
	talks     []talk
}

// everywhere is what each host has.
var everywhere = []listener{
	{"tcp", "0.0.0.0", 22, sshd}, {"tcp", "::", 22, sshd}, {"tcp", "::", 9100, nodeExporter},
	{"udp", "127.0.0.1", 323, chronyd}, {"udp", "127.0.0.53", 53, resolved}, {"udp", "0.0.0.0", 0, chronyd},
}

// A talk stands as often as it is frequent.
var roles = []role{
	{"web", 28, []listener{{"tcp", "0.0.0.0", 80, nginx}, {"tcp", "0.0.0.0", 443, nginx}, {"tcp", "::", 443, nginx}},
		[]talk{{true, 443, nginx, true}, {true, 443, nginx, true}, {true, 443, nginx, true}, {true, 80, nginx, true}, {false, 8080, nginx, false}, {false, 8080, nginx, false}, {true, 9100, nodeExporter, false}, {true, 22, sshd, false}}},
	{"app", 30, []listener{{"tcp", "::", 8080, java}, {"tcp", "127.0.0.1", 15001, envoy}},
		[]talk{{true, 8080, java, false}, {true, 8080, java, false}, {false, 5432, java, false}, {false, 5432, java, false}, {false, 6379, java, false}, {false, 443, java, true}, {false, 15001, envoy, false}, {true, 9100, nodeExporter, false}}},
	{"db", 10, []listener{{"tcp", "0.0.0.0", 5432, postgres}, {"tcp", "::", 5432, postgres}},
		[]talk{{true, 5432, postgres, false}, {true, 5432, postgres, false}, {true, 5432, postgres, false}, {true, 5432, postgres, false}, {false, 5432, postgres, false}, {true, 9100, nodeExporter, false}}},
	{"cache", 6, []listener{{"tcp", "0.0.0.0", 6379, redis}},
		[]talk{{true, 6379, redis, false}, {true, 6379, redis, false}, {true, 6379, redis, false}, {true, 9100, nodeExporter, false}}},
	{"worker", 14, nil,
		[]talk{{false, 5672, python, false}, {false, 6379, python, false}, {false, 443, python, true}, {false, 443, python, true}, {true, 9100, nodeExporter, false}}},
	{"dns", 2, []listener{{"udp", "0.0.0.0", 53, named}, {"udp", "::", 53, named}, {"tcp", "0.0.0.0", 53, named}, {"tcp", "::", 53, named}},
		[]talk{{true, 53, named, false}, {true, 53, named, false}, {false, 53, named, true}, {true, 9100, nodeExporter, false}}},
	// GTP-U is the kernel's own socket.
	{"upf", 4, []listener{{"udp", "0.0.0.0", gtpU, kernel}, {"udp", "0.0.0.0", 8805, upf}},
		[]talk{{false, 7777, upf, false}, {true, 9100, nodeExporter, false}}},
	{"smf", 2, []listener{{"udp", "0.0.0.0", 8805, smf}, {"tcp", "0.0.0.0", 7777, smf}},
		[]talk{{true, 7777, smf, false}, {true, 7777, smf, false}, {false, 7777, smf, false}, {true, 9100, nodeExporter, false}}},
	{"aaa", 2, []listener{{"udp", "0.0.0.0", 1812, radiusd}, {"udp", "0.0.0.0", 1813, radiusd}},
		[]talk{{false, 5432, radiusd, false}, {true, 9100, nodeExporter, false}}},
	{"media", 2, []listener{{"udp", "0.0.0.0", 9899, media}, {"tcp", "0.0.0.0", 443, media}},
		[]talk{{true, 443, media, true}, {true, 443, media, true}, {false, 6379, media, false}, {true, 9100, nodeExporter, false}}},
}

// roleOf gives each of a hundred hosts its role.
var roleOf = func() (of []int) {
	for i, r := range roles {
		of = append(of, slices.Repeat([]int{i}, r.share)...)
	}
	return of
}()

func (r *role) allListeners() []listener { return slices.Concat(everywhere, r.listeners) }

// namespaces that the programs of a role live in.
func (r *role) namespaces() int {
	all := map[uint64]bool{hostNetns: true}
	for _, l := range r.allListeners() {
		all[netnsOf(l.program)] = true
	}
	for _, t := range r.talks {
		all[netnsOf(t.program)] = true
	}
	return len(all)
}

var (
	arches  = []string{"amd64", "amd64", "amd64", "arm64"}
	kernels = []string{"6.1.0-44-cloud-amd64", "6.12.57+deb13-cloud-amd64", "6.18.2"}
)

// frequencies are the shares of a hundred: what chance picks by a number below it.
type frequency struct {
	below int
	text  string
}

var (
	states       = []frequency{{90, "established"}, {95, "close_wait"}, {98, "fin_wait_2"}, {100, "syn_sent"}}
	results      = []frequency{{88, "ok"}, {95, "refused"}, {98, "timed_out"}, {100, "unreachable"}}
	rcodes       = []frequency{{93, "NOERROR"}, {97, "NXDOMAIN"}, {98, "SERVFAIL"}, {100, ""}}
	finalDetails = []frequency{{90, "fin"}, {96, "reset_by_peer"}, {100, "reset_locally"}}
)

func of(frequencies []frequency, n int) string {
	return frequencies[slices.IndexFunc(frequencies, func(f frequency) bool { return n < f.below })].text
}
