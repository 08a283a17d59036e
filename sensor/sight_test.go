package sensor

import (
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testproc"
	"github.com/netview-project/netview/sensor/deliver"
	"github.com/netview-project/netview/sensor/socket"
)

// TestSights follows connections with the same ends through snapshots at an
// interval of 10 s.
func TestSights(t *testing.T) {
	const absent, null = "absent", "null"
	// look is one snapshot: 10 s after the one before, if not said otherwise.
	type look struct {
		after   time.Duration
		inode   uint64
		missing bool // the namespace
		want    string
	}
	nothing := look{want: absent}
	for name, looks := range map[string][]look{
		"at the start":                     {{inode: 1, want: null}, {inode: 1, want: null}},
		"later":                            {nothing, {inode: 1, want: "0s"}, {inode: 1, want: "10s"}},
		"after a gap":                      {nothing, {after: 21 * time.Second, inode: 1, want: null}},
		"after two intervals":              {nothing, {after: 20 * time.Second, inode: 1, want: "0s"}},
		"through a gap":                    {nothing, {inode: 1, want: "0s"}, {after: time.Minute, inode: 1, want: "1m0s"}},
		"another socket":                   {nothing, {inode: 1, want: "0s"}, {inode: 2, want: "0s"}},
		"accepted late":                    {nothing, {inode: 0, want: "0s"}, {inode: 1, want: "10s"}, {inode: 1, want: "20s"}},
		"closed by its process":            {nothing, {inode: 1, want: "0s"}, {inode: 0, want: "10s"}, {inode: 0, want: "20s"}},
		"closed, and the ends used again":  {nothing, {inode: 1, want: "0s"}, {inode: 0, want: "10s"}, {inode: 2, want: "0s"}},
		"older than the sensor, closed":    {{inode: 1, want: null}, {inode: 0, want: null}},
		"missed once":                      {nothing, {inode: 1, want: "0s"}, nothing, {inode: 1, want: "20s"}, nothing, {inode: 1, want: "40s"}},
		"missed once, not the same":        {nothing, {inode: 1, want: "0s"}, nothing, {inode: 2, want: "0s"}},
		"missed once, of no inode":         {nothing, {inode: 1, want: "0s"}, nothing, {inode: 0, want: "0s"}},
		"missed twice":                     {nothing, {inode: 1, want: "0s"}, nothing, nothing, {inode: 1, want: "0s"}},
		"namespace unreadable once":        {nothing, {inode: 1, want: "0s"}, {missing: true, want: absent}, {inode: 1, want: "20s"}},
		"namespace unreadable for long":    {nothing, {inode: 1, want: "0s"}, {missing: true, want: absent}, {missing: true, want: absent}, {inode: 1, want: null}},
		"namespace unreadable at first":    {{missing: true, want: absent}, {inode: 1, want: null}, {inode: 1, want: null}},
		"new in a namespace that was away": {nothing, {missing: true, want: absent}, {missing: true, want: absent}, {inode: 1, want: null}, {inode: 2, want: "0s"}},
	} {
		s := sights{interval: 10 * time.Second}
		now := time.Hour
		for i, look := range looks {
			now += 10 * time.Second
			if look.after != 0 {
				now += look.after - 10*time.Second
			}
			ns := socket.Namespace{Inode: 7}
			if look.missing {
				ns.Missing = socket.CauseNamespaceDenied
			}
			s.begin(now, []socket.Namespace{ns})
			got := absent
			if look.want != absent {
				got = null
				row := socket.Row{Netns: 7, Inode: look.inode, Local: netip.MustParseAddrPort("192.0.2.1:1"), Remote: netip.MustParseAddrPort("192.0.2.2:2")}
				if age, known := s.age(&row); known {
					got = age.String()
				}
			}
			s.end()
			if got != look.want {
				t.Errorf("%s: snapshot %d: %s, want %s", name, i+1, got, look.want)
			}
		}
	}
}

// TestSightsForget: what is gone does not stay in memory.
func TestSightsForget(t *testing.T) {
	s := sights{interval: time.Second}
	for i := range 100 {
		s.begin(time.Hour+time.Duration(i)*time.Second, []socket.Namespace{{Inode: uint64(i)}})
		row := socket.Row{Netns: uint64(i), Inode: 1, Local: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(i))}
		s.age(&row)
		s.end()
	}
	if len(s.seen) > 2 || len(s.next) != 0 || len(s.read) != 1 || len(s.gap) != 1 {
		t.Errorf("%d and %d sights, %d and %d namespaces are remembered", len(s.seen), len(s.next), len(s.read), len(s.gap))
	}
}

// TestUnreadableNamespace costs itself alone, and is counted; what it holds is
// of unknown age when it becomes readable.
func TestUnreadableNamespace(t *testing.T) {
	h := testproc.New(t)
	h.Socket("tcp", testproc.Here, 1, testproc.There, 443, testproc.Established, 11, true)
	task := h.Path("200/task/200")
	h.Must(os.MkdirAll(task+"/ns", 0o755), os.MkdirAll(task+"/net", 0o755), os.Symlink("net:[2]", task+"/ns/net"))
	_, tick := taker(h, t, Config{})
	for n := uint64(1); n <= 4; n++ {
		s := tick(15 * time.Second)
		if len(s.Connections) != 1 || s.Heartbeat.Namespaces != 1 || s.Heartbeat.Losses[string(socket.CauseTableUnreadable)] != n {
			t.Errorf("heartbeat %d: %d connections of %d namespaces, losses %v", n, len(s.Connections), s.Heartbeat.Namespaces, s.Heartbeat.Losses)
		}
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile(h.Path("100/task/100/net/" + table))
		h.Must(err, os.WriteFile(task+"/net/"+table, []byte(strings.ReplaceAll(string(text), "01BB", "01BC")), 0o644))
	}
	s := tick(15 * time.Second)
	if len(s.Connections) != 2 || s.Heartbeat.Namespaces != 2 {
		t.Fatalf("%d connections of %d namespaces, want 2 of 2", len(s.Connections), s.Heartbeat.Namespaces)
	}
	for _, c := range s.Connections {
		if c.Duration.Known {
			t.Errorf("the connection to port %d is %v old", c.RemotePort, c.Duration.Value)
		}
	}
}

// TestEphemeral: a UDP port that the namespace gave out by itself is flagged.
func TestEphemeral(t *testing.T) {
	h := testproc.New(t)
	h.Must(os.MkdirAll(h.Path("sys/net/ipv4"), 0o755), os.WriteFile(h.Path("sys/net/ipv4/ip_local_port_range"), []byte("40000\t40009\n"), 0o644))
	for i, port := range []int{53, 39999, 40000, 40009, 40010} {
		h.Socket("udp", testproc.Any4, port, testproc.Any4, 0, testproc.Closed, i+1, true)
	}
	h.Socket("tcp", testproc.Any4, 40001, testproc.Any4, 0, testproc.Listen, 10, true)
	_, tick := taker(h, t, Config{})
	for _, l := range tick(0).Listeners {
		if want := l.LocalPort == 40000 || l.LocalPort == 40009; l.Ephemeral != want {
			t.Errorf("%s port %d: ephemeral is %t", l.Transport, l.LocalPort, l.Ephemeral)
		}
	}
}

// TestHeartbeatsCarryLossesOfTheSpool, which no collector empties here.
func TestHeartbeatsCarryLossesOfTheSpool(t *testing.T) {
	h := testproc.New(t)
	h.Socket("tcp", testproc.Any4, 80, testproc.Any4, 0, testproc.Listen, 1, true)
	h.Write()
	s, err := New(Config{SensorID: "s", Interval: time.Second, Spool: deliver.DefaultOptions(), Proc: h.Proc, Endpoint: "grpc://127.0.0.1:9"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.client.Close()
	s.config.Spool.MemoryBytes = 1 // there is no other place
	spool, err := s.openSpool()
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	sequence := uint64(0)
	for n, want := range []uint64{0, 0, 2, 4} {
		if err := s.beat(); err != nil {
			t.Fatal(err)
		}
		beat := s.State().Snapshot.Heartbeat
		if lost := beat.Losses["snapshot_superseded"]; lost != want {
			t.Errorf("heartbeat %d: %d records superseded, want %d", n+1, lost, want)
		}
		if off := beat.Features["spool"]; !strings.HasPrefix(off, event.FeatureOff) {
			t.Errorf("heartbeat %d says of the spool, which is in memory: %q", n+1, off)
		}
		if sequence += 2; n > 1 {
			sequence++ // the record of the gap
		}
		if beat.Sequence != sequence { // a listener and the heartbeat
			t.Errorf("heartbeat %d has sequence %d, want %d", n+1, beat.Sequence, sequence)
		}
	}
	// The state is ahead of the newest heartbeat.
	if state := s.State(); state.Losses["snapshot_superseded"] != 6 || state.Delivery.Waiting != 1 {
		t.Errorf("state %+v", state)
	}
}

// TestTickerPoints: the next point always lies ahead, an interval at most, and
// on the sensor's own points.
func TestTickerPoints(t *testing.T) {
	tick := ticker{interval: 15 * time.Second, offset: 4 * time.Second}
	for now, want := range map[time.Duration]time.Duration{
		100*15*time.Second + 0:             1504 * time.Second,
		1504*time.Second - time.Nanosecond: 1504 * time.Second,
		1504 * time.Second:                 1519 * time.Second,
		1504*time.Second + time.Nanosecond: 1519 * time.Second,
		1518 * time.Second:                 1519 * time.Second,
	} {
		if got := tick.next(now); got != want {
			t.Errorf("after %v: %v, want %v", now, got, want)
		}
	}
}
