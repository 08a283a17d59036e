package sensor

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netview-project/netview/event"
)

// host is a procfs that the test writes: one namespace, and process 100 in it.
type host struct {
	t       testing.TB
	proc    string
	sockets map[string][]string // rows by table
	owned   []int               // inodes of process 100
}

const tableHeader = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

// Addresses as the kernel prints them on a little-endian machine.
const (
	loopback = "0100007F"
	any4     = "00000000"
	here     = "010200C0" // 192.0.2.1
	there    = "020200C0" // 192.0.2.2
)

// States as the kernel numbers them.
const (
	established = 1
	timeWait    = 6
	closed      = 7
	closeWait   = 8
	listen      = 10
)

func newHost(t testing.TB) *host {
	h := &host{t: t, proc: t.TempDir(), sockets: map[string][]string{}}
	task := h.path("100/task/100")
	h.make(os.MkdirAll(task+"/ns", 0o755), os.MkdirAll(task+"/net", 0o755), os.MkdirAll(h.path("100/ns"), 0o755),
		os.Symlink("net:[1]", task+"/ns/net"), os.Symlink("net:[1]", h.path("100/ns/net")), os.Symlink("/usr/bin/served", h.path("100/exe")),
		os.WriteFile(h.path("100/stat"), []byte("100 (served) S 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n"), 0o644),
		os.WriteFile(h.path("100/status"), []byte("Name:\tserved\nUid:\t0\t0\t0\t0\n"), 0o644),
		os.WriteFile(h.path("100/cgroup"), []byte("0::/\n"), 0o644), os.WriteFile(h.path("100/cmdline"), []byte("served\x00--token=abc\x00"), 0o644))
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.proc, name) }

func (h *host) make(errs ...error) {
	h.t.Helper()
	for _, err := range errs {
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// socket adds a row; owned sockets are process 100's.
func (h *host) socket(table, local string, localPort int, remote string, remotePort, state, inode int, owned bool) {
	h.sockets[table] = append(h.sockets[table], fmt.Sprintf("%4d: %s:%04X %s:%04X %02X 00000000:00000000 00:00000000 00000000 %5d %8d %d 1 0000000000000000 100 0 0 10 0\n",
		len(h.sockets[table]), local, localPort, remote, remotePort, state, 0, 0, inode))
	if owned {
		h.owned = append(h.owned, inode)
	}
}

// write puts the sockets where the sensor reads them.
func (h *host) write() {
	h.t.Helper()
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		h.make(os.WriteFile(h.path("100/task/100/net/"+table), []byte(tableHeader+strings.Join(h.sockets[table], "")), 0o644))
	}
	h.make(os.RemoveAll(h.path("100/fd")), os.Mkdir(h.path("100/fd"), 0o755))
	for i, inode := range h.owned {
		h.make(os.Symlink(fmt.Sprintf("socket:[%d]", inode), h.path(fmt.Sprintf("100/fd/%d", i+3))))
	}
}

// forget removes all sockets.
func (h *host) forget() { h.sockets, h.owned = map[string][]string{}, nil }

// taker takes snapshots of the host on a clock that the test moves.
func (h *host) taker(config Config) (s *snapshots, tick func(time.Duration) *event.Snapshot) {
	config.Proc, config.Interval = h.proc, 15*time.Second
	s = newSnapshots(&config, event.Resource{SensorID: "s"}, slog.New(slog.DiscardHandler))
	now := s.began
	s.clock = func() time.Duration { return now }
	return s, func(passed time.Duration) *event.Snapshot {
		h.t.Helper()
		now += passed
		h.write()
		snapshot, err := s.take()
		if err != nil {
			h.t.Fatal(err)
		}
		return snapshot
	}
}

// ages are the durations of the connections by local port, "" for null.
func ages(s *event.Snapshot) map[uint16]string {
	found := map[uint16]string{}
	for _, c := range s.Connections {
		found[c.LocalPort] = ""
		if c.Duration.Known {
			found[c.LocalPort] = c.Duration.Value.String() + " " + c.DurationSource
		}
	}
	return found
}

// TestDurations: from first sight, on the boot clock, and null where first sight
// tells nothing.
func TestDurations(t *testing.T) {
	h := newHost(t)
	_, tick := h.taker(Config{})
	expect := func(when string, s *event.Snapshot, want map[uint16]string) {
		t.Helper()
		if got := ages(s); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	h.socket("tcp", here, 1, there, 443, established, 11, false)
	expect("at the start", tick(0), map[uint16]string{1: ""})
	h.socket("tcp", here, 2, there, 443, established, 12, false)
	expect("a new one", tick(15*time.Second), map[uint16]string{1: "", 2: "0s first_seen"})
	expect("later", tick(15*time.Second), map[uint16]string{1: "", 2: "15s first_seen"})
	h.socket("tcp", here, 3, there, 443, established, 13, false)
	expect("after a gap", tick(31*time.Second), map[uint16]string{1: "", 2: "46s first_seen", 3: ""})
	// The same addresses and ports, another socket.
	h.forget()
	h.socket("tcp", here, 1, there, 443, established, 21, false)
	h.socket("tcp", here, 2, there, 443, established, 12, false)
	expect("port used again", tick(15*time.Second), map[uint16]string{1: "0s first_seen", 2: "1m1s first_seen"})
	h.forget()
	expect("gone", tick(15*time.Second), map[uint16]string{})
	h.socket("tcp", here, 2, there, 443, established, 12, false)
	expect("back after it was gone", tick(15*time.Second), map[uint16]string{2: "0s first_seen"})
}

func TestRowsAndCounts(t *testing.T) {
	h := newHost(t)
	h.socket("tcp", any4, 80, any4, 0, listen, 1, true)
	h.socket("tcp", here, 80, there, 5000, established, 2, true)
	h.socket("tcp", here, 5001, there, 80, established, 3, true) // another host's port 80
	h.socket("tcp", loopback, 80, loopback, 5002, closeWait, 4, true)
	h.socket("tcp", loopback, 5002, loopback, 80, established, 5, false)
	h.socket("tcp", loopback, 5007, "0200007F", 80, established, 11, true)
	h.socket("tcp", here, 80, there, 5003, timeWait, 0, false)
	h.socket("tcp", any4, 5004, any4, 0, closed, 6, false)
	h.socket("udp", any4, 2152, any4, 0, closed, 0, false) // the kernel's GTP-U
	h.socket("udp", any4, 53, any4, 0, closed, 7, true)
	h.socket("udp", here, 5005, there, 53, established, 8, true)
	h.socket("tcp6", "0000000000000000FFFF00000100007F", 80, "0000000000000000FFFF00000100007F", 5006, established, 9, true)
	h.socket("tcp6", "00000000000000000000000000000000", 81, "00000000000000000000000000000000", 0, listen, 10, true)
	_, tick := h.taker(Config{})
	s := tick(0)

	type row struct{ what, process string }
	var got []row
	name := func(p event.Process) string {
		return fmt.Sprintf("%d %s %s %s", p.PID.Value, p.Binary, p.Name, p.User)
	}
	for _, c := range s.Connections {
		got = append(got, row{fmt.Sprintf("%s %s:%d %s:%d %s %s", c.Family, c.LocalAddress, c.LocalPort, c.RemoteAddress, c.RemotePort, c.State, c.Direction), name(c.Process)})
	}
	for _, l := range s.Listeners {
		got = append(got, row{fmt.Sprintf("%s %s %s:%d", l.Transport, l.Family, l.LocalAddress, l.LocalPort), name(l.Process)})
	}
	const served, unowned, kernels = "100 /usr/bin/served served root", "0   root", "0   "
	want := []row{
		{"ipv4 192.0.2.1:80 192.0.2.2:5000 established inbound", served},
		{"ipv4 192.0.2.1:5001 192.0.2.2:80 established unknown", served},
		{"ipv4 127.0.0.1:80 127.0.0.1:5002 close_wait inbound", served},
		{"ipv4 127.0.0.1:5002 127.0.0.1:80 established outbound", unowned},
		{"ipv4 127.0.0.1:5007 127.0.0.2:80 established outbound", served},
		{"ipv4 127.0.0.1:80 127.0.0.1:5006 established inbound", served},
		{"tcp ipv4 0.0.0.0:80", served},
		{"tcp ipv6 [::]:81", served},
		{"udp ipv4 0.0.0.0:2152", kernels},
		{"udp ipv4 0.0.0.0:53", served},
	}
	for i := range want {
		want[i].what = strings.NewReplacer("[", "", "]", "").Replace(want[i].what)
	}
	byText := func(a, b row) int { return cmp.Compare(a.what, b.what) }
	slices.SortFunc(got, byText)
	slices.SortFunc(want, byText)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	b := s.Heartbeat
	if b.Connections != 6 || b.TCPListeners != 2 || b.UDPListeners != 2 || b.TimeWait != 1 || b.Namespaces != 1 {
		t.Errorf("the heartbeat counts %d connections, %d TCP and %d UDP listeners, %d in TIME_WAIT, %d namespaces", b.Connections, b.TCPListeners, b.UDPListeners, b.TimeWait, b.Namespaces)
	}
	for _, p := range s.Listeners {
		if p.LocalPort == 2152 && p.Process.PID.Known {
			t.Error("a kernel socket has a process")
		}
	}
}

// TestHeartbeat: numbered from 1, with uptime and losses; its rows have its time.
func TestHeartbeat(t *testing.T) {
	h := newHost(t)
	h.socket("tcp", here, 1, there, 443, established, 11, false)
	h.sockets["tcp"] = append(h.sockets["tcp"], "   9: not a row\n")
	_, tick := h.taker(Config{})
	for n := uint64(1); n <= 3; n++ {
		s := tick(15 * time.Second)
		b := s.Heartbeat
		if b.Heartbeat != n || b.Uptime != time.Duration(n)*15*time.Second || b.Interval != 15*time.Second {
			t.Errorf("heartbeat %d: number %d, uptime %v, interval %v", n, b.Heartbeat, b.Uptime, b.Interval)
		}
		if b.Mode != event.ModeCompatibility || b.Features["socket_tables"] != "on" || !strings.HasPrefix(b.Features["ebpf"], "off: ") {
			t.Errorf("mode %s, features %v", b.Mode, b.Features)
		}
		if lost := b.Losses["socket_row_short"]; lost != n {
			t.Errorf("heartbeat %d: losses %v, want %d rows that are too short", n, b.Losses, n)
		}
		if len(s.Connections) != 1 || s.Connections[0].Timestamp != b.Timestamp || s.Connections[0].Heartbeat != n {
			t.Errorf("heartbeat %d at %v has the rows %v", n, b.Timestamp, s.Connections)
		}
	}
}

// TestOrderIsStable: rows that stay keep their places, so that a snapshot is
// close to a repetition of the one before, and compresses to little.
func TestOrderIsStable(t *testing.T) {
	h := newHost(t)
	_, tick := h.taker(Config{})
	ports := func(s *event.Snapshot) (list []uint16) {
		for _, c := range s.Connections {
			list = append(list, c.LocalPort)
		}
		return list
	}
	for _, port := range []int{3, 1, 2} {
		h.socket("tcp", here, port, there, 443, established, port, false)
	}
	first := ports(tick(0))
	h.forget()
	for _, port := range []int{2, 3, 1} {
		h.socket("tcp", here, port, there, 443, established, port, false)
	}
	if second := ports(tick(0)); !slices.Equal(first, second) {
		t.Errorf("the order %v became %v", first, second)
	}
}

func TestCommandLineOnlyOnRequest(t *testing.T) {
	h := newHost(t)
	h.socket("tcp", any4, 80, any4, 0, listen, 1, true)
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{}, ""},
		{Config{CommandLine: true}, "served --token=abc"},
		{Config{CommandLine: true, Scrub: `token=\S+`}, "served --***"},
	} {
		_, tick := h.taker(tt.config)
		if got := tick(0).Listeners[0].Process.CommandLine; got != tt.want {
			t.Errorf("%+v: command line %q, want %q", tt.config, got, tt.want)
		}
	}
}

func TestNothingReadable(t *testing.T) {
	config := Config{Proc: t.TempDir(), Interval: time.Second}
	if _, err := newSnapshots(&config, event.Resource{}, slog.New(slog.DiscardHandler)).take(); err == nil || !strings.Contains(err.Error(), config.Proc) {
		t.Errorf("an empty procfs gives %v", err)
	}
}

// BenchmarkTake10000 is a whole heartbeat over 10,000 connections, but for the
// kernel's part: the tables are plain files.
func BenchmarkTake10000(b *testing.B) {
	h := newHost(b)
	for i := range 10_000 {
		h.socket("tcp", here, 1024+i%50_000, there, 443, established, i+1, i < 1000)
	}
	h.write()
	config := Config{Proc: h.proc, Interval: 15 * time.Second}
	s := newSnapshots(&config, event.Resource{SensorID: "s"}, slog.New(slog.DiscardHandler))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.take(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/connection")
}
