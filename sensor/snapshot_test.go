package sensor

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testproc"
	"github.com/netview-project/netview/sensor/flow"
	"github.com/netview-project/netview/sensor/socket"
)

// taker takes snapshots of the host on a clock that the test moves.
func taker(h *testproc.Host, t testing.TB, config Config) (s *snapshots, tick func(time.Duration) *event.Snapshot) {
	config.Proc, config.Interval = h.Proc, 15*time.Second
	s = newSnapshots(&config, event.Resource{SensorID: "s"}, slog.New(slog.DiscardHandler))
	now := s.began
	s.clock = func() time.Duration { return now }
	return s, func(passed time.Duration) *event.Snapshot {
		t.Helper()
		now += passed
		h.Write()
		f, err := s.take()
		if err != nil {
			t.Fatal(err)
		}
		return f.whole()
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
	h := testproc.New(t)
	_, tick := taker(h, t, Config{})
	expect := func(when string, s *event.Snapshot, want map[uint16]string) {
		t.Helper()
		if got := ages(s); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	h.Socket("tcp", testproc.Here, 1, testproc.There, 443, testproc.Established, 11, false)
	expect("at the start", tick(0), map[uint16]string{1: ""})
	h.Socket("tcp", testproc.Here, 2, testproc.There, 443, testproc.Established, 12, false)
	expect("a new one", tick(15*time.Second), map[uint16]string{1: "", 2: "0s first_seen"})
	expect("later", tick(15*time.Second), map[uint16]string{1: "", 2: "15s first_seen"})
	h.Socket("tcp", testproc.Here, 3, testproc.There, 443, testproc.Established, 13, false)
	expect("after a gap", tick(31*time.Second), map[uint16]string{1: "", 2: "46s first_seen", 3: ""})
	// The same addresses and ports, another socket.
	h.Forget()
	h.Socket("tcp", testproc.Here, 1, testproc.There, 443, testproc.Established, 21, false)
	h.Socket("tcp", testproc.Here, 2, testproc.There, 443, testproc.Established, 12, false)
	expect("port used again", tick(15*time.Second), map[uint16]string{1: "0s first_seen", 2: "1m1s first_seen"})
	h.Forget()
	expect("gone", tick(15*time.Second), map[uint16]string{})
	h.Socket("tcp", testproc.Here, 2, testproc.There, 443, testproc.Established, 12, false)
	// A table that changes while it is read may miss a socket for once.
	expect("back with the same socket", tick(15*time.Second), map[uint16]string{2: "1m31s first_seen"})
	h.Forget()
	tick(15 * time.Second)
	tick(15 * time.Second)
	h.Socket("tcp", testproc.Here, 2, testproc.There, 443, testproc.Established, 12, false)
	expect("back after it was gone for long", tick(15*time.Second), map[uint16]string{2: "0s first_seen"})
}

func TestRowsAndCounts(t *testing.T) {
	h := testproc.New(t)
	h.Socket("tcp", testproc.Any4, 80, testproc.Any4, 0, testproc.Listen, 1, true)
	h.Socket("tcp", testproc.Here, 80, testproc.There, 5000, testproc.Established, 2, true)
	h.Socket("tcp", testproc.Here, 5001, testproc.There, 80, testproc.Established, 3, true) // another host's port 80
	h.Socket("tcp", testproc.Loopback, 80, testproc.Loopback, 5002, testproc.CloseWait, 4, true)
	h.Socket("tcp", testproc.Loopback, 5002, testproc.Loopback, 80, testproc.Established, 5, false)
	h.Socket("tcp", testproc.Loopback, 5007, "0200007F", 80, testproc.Established, 11, true)
	h.Socket("tcp", testproc.Here, 80, testproc.There, 5003, testproc.TimeWait, 0, false)
	h.Socket("tcp", testproc.Any4, 5004, testproc.Any4, 0, testproc.Closed, 6, false)
	h.Socket("udp", testproc.Any4, 2152, testproc.Any4, 0, testproc.Closed, 0, false) // the kernel's GTP-U
	h.Socket("udp", testproc.Any4, 53, testproc.Any4, 0, testproc.Closed, 7, true)
	h.Socket("udp", testproc.Here, 5005, testproc.There, 53, testproc.Established, 8, true)
	h.Socket("tcp6", "0000000000000000FFFF00000100007F", 80, "0000000000000000FFFF00000100007F", 5006, testproc.Established, 9, true)
	h.Socket("tcp6", "00000000000000000000000000000000", 81, "00000000000000000000000000000000", 0, testproc.Listen, 10, true)
	_, tick := taker(h, t, Config{})
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
	h := testproc.New(t)
	h.Socket("tcp", testproc.Here, 1, testproc.There, 443, testproc.Established, 11, false)
	h.Raw("tcp", "   9: not a row\n")
	_, tick := taker(h, t, Config{})
	for n := uint64(1); n <= 3; n++ {
		s := tick(15 * time.Second)
		b := s.Heartbeat
		if b.Heartbeat != n || b.Uptime != time.Duration(n)*15*time.Second || b.Interval != 15*time.Second {
			t.Errorf("heartbeat %d: number %d, uptime %v, interval %v", n, b.Heartbeat, b.Uptime, b.Interval)
		}
		if b.Mode != event.ModeCompatibility || b.Features["socket_tables"] != "on" {
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
	h := testproc.New(t)
	_, tick := taker(h, t, Config{})
	ports := func(s *event.Snapshot) (list []uint16) {
		for _, c := range s.Connections {
			list = append(list, c.LocalPort)
		}
		return list
	}
	for _, port := range []int{3, 1, 2} {
		h.Socket("tcp", testproc.Here, port, testproc.There, 443, testproc.Established, port, false)
	}
	first := ports(tick(0))
	h.Forget()
	for _, port := range []int{2, 3, 1} {
		h.Socket("tcp", testproc.Here, port, testproc.There, 443, testproc.Established, port, false)
	}
	if second := ports(tick(0)); !slices.Equal(first, second) {
		t.Errorf("the order %v became %v", first, second)
	}
}

func TestCommandLineOnlyOnRequest(t *testing.T) {
	h := testproc.New(t)
	h.Socket("tcp", testproc.Any4, 80, testproc.Any4, 0, testproc.Listen, 1, true)
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{}, ""},
		{Config{CommandLine: true}, "served --token=abc"},
		{Config{CommandLine: true, Scrub: `token=\S+`}, "served --***"},
	} {
		_, tick := taker(h, t, tt.config)
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
	h := testproc.New(b)
	for i := range 10_000 {
		h.Socket("tcp", testproc.Here, 1024+i%50_000, testproc.There, 443, testproc.Established, i+1, i < 1000)
	}
	h.Write()
	config := Config{Proc: h.Proc, Interval: 15 * time.Second}
	s := newSnapshots(&config, event.Resource{SensorID: "s"}, slog.New(slog.DiscardHandler))
	b.ReportAllocs()
	for b.Loop() {
		f, err := s.take()
		if err != nil {
			b.Fatal(err)
		}
		for range f.rows {
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/connection")
}

// TestRowsInPieces: more rows than a piece has, some of flows and some not, in any
// order: each connection is completed by its own flow, and nothing is there twice.
func TestRowsInPieces(t *testing.T) {
	config := Config{Interval: 15 * time.Second}
	s := newSnapshots(&config, event.Resource{SensorID: "s"}, slog.New(slog.DiscardHandler))
	s.happenings = newHappenings(event.Resource{SensorID: "s"}, &s.processes, func([]event.Event) {})
	const connections = 2*rowsPerPiece + 100
	for i := range uint64(connections) {
		row := socket.Row{Protocol: socket.TCP, State: socket.Established, Inode: i + 1, Netns: i % 3, Cookie: i * 7919 % connections,
			Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(i >> 8), 1}), 1000), Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 2}), uint16(i))}
		if row.Cookie%5 == 1 {
			row.State = socket.SynSent // no flow yet
		}
		if row.Cookie%5 == 2 {
			s.happenings.flows.Open(&flow.Socket{ID: row.Cookie, Netns: row.Netns, Local: row.Local, Remote: row.Remote, Role: flow.Connected, Start: 1, RemoteName: fmt.Sprint(row.Cookie)}, 1)
		}
		s.table.Rows = append(s.table.Rows, row)
	}
	again := s.table.Rows[50] // a table may show a socket twice where it has no inode
	again.Inode = 0
	s.table.Rows = append(s.table.Rows, again)
	s.happenings.flows.Open(&flow.Socket{ID: connections + 1, Netns: 1, Start: 1}, 1) // after the table was read
	sortRows(s.table.Rows)
	h := &event.Heartbeat{}
	s.count(h)
	s.flows = s.happenings.compare(1, nil, s.sightings, nil)
	f := found{heartbeat: h, rows: func(yield func([]event.Event) bool) { s.rows(h, 1, yield) }}
	all := f.whole()
	if h.Connections != connections+1 || len(all.Connections) != connections+1 || len(all.Flows) != len(s.flows) {
		t.Errorf("%d connections of %d, %d flows of %d", len(all.Connections), h.Connections, len(all.Flows), len(s.flows))
	}
	for _, c := range all.Connections {
		name, source := "", ""
		if c.ConnectionID.Known && c.ConnectionID.Value%5 == 2 {
			name, source = fmt.Sprint(c.ConnectionID.Value), event.SourceConnect
		}
		if c.RemoteName != name || c.DirectionSource != source {
			t.Fatalf("connection %d has the name %q, its direction from %q; want %q, %q", c.ConnectionID.Value, c.RemoteName, c.DirectionSource, name, source)
		}
	}
	ids := map[uint64]bool{}
	for _, f := range all.Flows {
		if ids[f.ConnectionID.Value] || f.ConnectionID.Value%5 == 1 && f.ConnectionID.Value != connections+1 {
			t.Fatalf("flow %d is there twice, or is none", f.ConnectionID.Value)
		}
		ids[f.ConnectionID.Value] = true
	}
	if !ids[connections+1] || len(ids) != connections*4/5 { // none of cookie 0, and one more
		t.Errorf("%d flows", len(ids))
	}
}
