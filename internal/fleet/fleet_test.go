package fleet

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
	"github.com/netview-project/netview/sensor/deliver"
)

func TestMain(m *testing.M) { testbin.Main(m) }

func small() *Fleet {
	return &Fleet{Seed: 7, Sensors: 40, Connections: 12, Short: 3, Start: time.Now().Add(-30 * time.Minute).Truncate(time.Second).UTC(), Interval: 15 * time.Second}
}

// road starts ClickHouse and a collector.
func road(t testing.TB) (ch *testch.Server, client deliver.Client) {
	ch = testch.Start(t)
	grpc := testbin.FreeAddress(t)
	_, metrics, _ := net.SplitHostPort(testbin.FreeAddress(t))
	testbin.Start(t, "netview-collector", []string{
		"NETVIEW_CLICKHOUSE_DSN=" + ch.DSN(engine.Writer), "NETVIEW_CLICKHOUSE_OWNER_DSN=" + ch.DSN(engine.Owner),
		"NETVIEW_OTLP_GRPC_ENDPOINT=" + grpc, "NETVIEW_OTLP_HTTP_ENDPOINT=" + testbin.FreeAddress(t), "NETVIEW_HEALTH_ENDPOINT=" + testbin.FreeAddress(t), "NETVIEW_COLLECTOR_METRICS_PORT=" + metrics,
	}, "--config", "../../deploy/collector.yaml")
	client, err := deliver.NewClient("grpc://"+grpc, deliver.Security{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return ch, client
}

// stored are all values of a table but the time of receipt, as text, a row each.
func stored(t *testing.T, ch *testch.Server, table string) (rows []string) {
	t.Helper()
	conn, err := clickhouse.Open(ch.DSN(engine.Reader))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := conn.Query(t.Context(), fmt.Sprintf("SELECT toString(tuple(* EXCEPT (received))) FROM netview.%s ORDER BY sensor_id, session, sequence", table))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	for answer.Next() {
		var row string
		if err := answer.Scan(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if err := answer.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestInside: what a fleet sends through the receiver, and what it makes inside
// of ClickHouse, are the same rows, value by value.
func TestInside(t *testing.T) {
	const beats = 40
	f := small()
	sent, client := road(t)
	sender := &Sender{Clients: []deliver.Client{client}, First: 1, Last: beats, InFlight: 256, RequestTimeout: 30 * time.Second}
	if err := sender.Send(t.Context(), f.MakeSensors()); err != nil {
		t.Fatal(err)
	}
	inside, _ := road(t)
	conn, err := clickhouse.Open(inside.DSN(engine.Writer))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	testbin.Eventually(t, 30*time.Second, func() string { // the collector makes the tables
		if err := conn.Exec(t.Context(), "SELECT 1 FROM netview.reconciliation(sensor_id = '', since = now64(3, 'UTC'))"); err != nil {
			return err.Error()
		}
		return ""
	})
	// In two parts, as one does who adds to a store.
	for _, part := range [][2]uint64{{1, 15}, {16, beats}} {
		if err := f.Inside(t.Context(), conn, "netview", part[0], part[1], func(int) {}); err != nil {
			t.Fatal(err)
		}
	}
	var records uint64
	for _, table := range []string{"events", "snapshot_connections", "snapshot_listeners", "snapshot_flows", "heartbeats"} {
		want, have := stored(t, sent, table), stored(t, inside, table)
		if len(want) == 0 || len(want) != len(have) {
			t.Errorf("%s: %d rows were made inside, want the %d that were sent", table, len(have), len(want))
			continue
		}
		records += uint64(len(have))
		for i := range want {
			if want[i] != have[i] {
				t.Errorf("%s, row %d of %d: inside\n%s\nthrough the receiver\n%s", table, i, len(want), have[i], want[i])
				break
			}
		}
	}
	if records != sender.Sent().Records.Load() {
		t.Errorf("%d rows are stored, %d records were acknowledged", records, sender.Sent().Records.Load())
	}
	for name, ch := range map[string]*testch.Server{"sent": sent, "inside": inside} {
		var sessions, unexplained, gone uint64
		row := fmt.Sprintf("SELECT count(), sum(unexplained), sum(gone) FROM netview.reconciliation(sensor_id = '', since = toDateTime64('%s', 3, 'UTC'))", f.Start.Add(-time.Hour).Format("2006-01-02 15:04:05.000"))
		reader, err := clickhouse.Open(ch.DSN(engine.Reader))
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		if err := reader.QueryRow(t.Context(), row).Scan(&sessions, &unexplained, &gone); err != nil {
			t.Fatal(err)
		}
		if int(sessions) != f.Sensors || unexplained != 0 || gone != 0 {
			t.Errorf("%s: %d sessions, %d records unexplained, %d gone; want %d, 0, 0", name, sessions, unexplained, gone, f.Sensors)
		}
	}
}

func TestCheck(t *testing.T) {
	good := *small()
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Fleet){
		"0 sensors":              func(f *Fleet) { f.Sensors = 0 },
		"2001 sensors":           func(f *Fleet) { f.Sensors = 2001 },
		"0 connections":          func(f *Fleet) { f.Connections = 0 },
		"-1 short connections":   func(f *Fleet) { f.Short = -1 },
		"an interval of 999ms":   func(f *Fleet) { f.Interval = 999 * time.Millisecond },
		"an interval of 1.0005s": func(f *Fleet) { f.Interval = 1000500 * time.Microsecond },
		"an interval of 2h":      func(f *Fleet) { f.Interval = 2 * time.Hour },
	} {
		f := good
		spoil(&f)
		if err := f.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check() = %v, want an error about %q", err, want)
		}
	}
}

// TestSame: the same parameters make the same records, another seed others.
func TestSame(t *testing.T) {
	make20 := func(f *Fleet, skip uint64) (beats []Beat) {
		for _, s := range f.MakeSensors() {
			s.Skip(skip)
			for range 20 - skip {
				beats = append(beats, s.Next())
			}
		}
		return beats
	}
	one, again, other := small(), small(), small()
	again.Start, other.Start, other.Seed = one.Start, one.Start, 8
	first := make20(one, 0)
	if !reflect.DeepEqual(first, make20(again, 0)) {
		t.Error("the same fleet made other records")
	}
	if reflect.DeepEqual(first, make20(other, 0)) {
		t.Error("another seed made the same records")
	}
	if skipped := make20(again, 19); !reflect.DeepEqual(skipped[0], first[19]) {
		t.Errorf("heartbeat 20 after 19 were skipped: %+v, want %+v", skipped[0].Snapshot.Heartbeat, first[19].Snapshot.Heartbeat)
	}
}

// TestLikeAFleet: what is generated has the marks, the identities and the habits
// that one relies on.
func TestLikeAFleet(t *testing.T) {
	const beats = 40
	f := &Fleet{Seed: 3, Sensors: 300, Connections: 20, Short: 4, Start: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC), Interval: 15 * time.Second}
	sessions, sensors := map[string]bool{}, map[string]bool{}
	ports, results, kept := map[string]int{}, map[string]int{}, map[bool]int{}
	offsets := map[time.Duration]bool{}
	var rows, kernelRows int
	for _, s := range f.MakeSensors() {
		if err := event.CheckSensorID(s.Resource.SensorID); err != nil || !strings.HasPrefix(s.Resource.SensorID, Prefix) || s.Resource.Version != Version {
			t.Errorf("resource %+v: %v", s.Resource, err)
		}
		sessions[s.Resource.Session.String()], sensors[s.Resource.SensorID] = true, true
		var sequence uint64
		before := map[string]bool{}
		var last time.Time
		for n := range uint64(beats) {
			at := s.NextTime()
			b := s.Next()
			h := b.Snapshot.Heartbeat
			if h.Timestamp != at || h.Heartbeat != n+1 || (n > 0 && at.Sub(last) != f.Interval) {
				t.Fatalf("heartbeat %d of %s is at %v, want %v", h.Heartbeat, s.Resource.SensorID, h.Timestamp, at)
			}
			last = at
			offsets[at.Sub(f.Start)%f.Interval] = true
			if int(h.Connections) != len(b.Snapshot.Connections) || int(h.TCPListeners+h.UDPListeners) != len(b.Snapshot.Listeners) {
				t.Fatalf("the heartbeat counts %d, %d and %d", h.Connections, h.TCPListeners, h.UDPListeners)
			}
			for _, e := range slices.Concat(b.Events, b.Snapshot.Rows(), []event.Event{h}) {
				sequence++
				if e.Env().Sequence != sequence {
					t.Fatalf("%s: sequence %d, want %d", s.Resource.SensorID, e.Env().Sequence, sequence)
				}
				earliest := at.Add(-f.Interval)
				if strings.HasPrefix(string(e.Kind()), "dns_") { // told when it is over
					earliest = earliest.Add(-noAnswerAfter - answerToConnect)
				}
				if e.Env().Timestamp.After(at) || e.Env().Timestamp.Before(earliest) {
					t.Fatalf("%s: a %s of %v in the heartbeat of %v", s.Resource.SensorID, e.Kind(), e.Env().Timestamp, at)
				}
				switch e := e.(type) {
				case *event.NetworkConnect:
					results[e.Result]++
				case *event.DNSQuery:
					results[e.Result+e.RCode]++
				case *event.DNSLookup:
					results[e.Result]++
				case *event.NetworkFlow:
					if e.Duration.Known && (e.Duration.Value <= 0 || e.Duration.Value > beats*f.Interval) {
						t.Fatalf("a flow of %v", e.Duration.Value)
					}
				}
			}
			now := map[string]bool{}
			for _, c := range b.Snapshot.Connections {
				rows++
				same := fmt.Sprint(c.Netns, c.LocalAddress, c.LocalPort, c.RemoteAddress, c.RemotePort, c.Inode, c.State, c.Direction, c.Process, c.RemoteName)
				now[same] = true
				if n > 0 {
					kept[before[same]]++
				}
			}
			before = now
			for _, l := range b.Snapshot.Listeners {
				ports[fmt.Sprint(l.Transport, " ", l.LocalPort)]++
				if l.Inode == 0 {
					kernelRows++
					if l.Process != (event.Process{}) || l.LocalPort != 2152 {
						t.Fatalf("a kernel's socket: %+v", l)
					}
				}
			}
		}
	}
	if len(sessions) != f.Sensors || len(sensors) != f.Sensors {
		t.Errorf("%d sessions, %d sensors, want %d", len(sessions), len(sensors), f.Sensors)
	}
	if len(offsets) < f.Sensors*9/10 {
		t.Errorf("the heartbeats of %d sensors have %d offsets in the interval", f.Sensors, len(offsets))
	}
	for _, port := range []string{"udp 2152", "udp 8805", "udp 1812", "udp 1813", "udp 9899", "tcp 22", "tcp 443", "tcp 5432", "udp 53"} {
		if ports[port] == 0 {
			t.Errorf("no host listens on %s", port)
		}
	}
	for _, want := range []string{"ok", "refused", "timed_out", "unreachable", "answeredNOERROR", "answeredNXDOMAIN", "answeredSERVFAIL", "no_answer", "EAI_NONAME", "EAI_AGAIN"} {
		if results[want] == 0 {
			t.Errorf("nothing has the result %s: %v", want, results)
		}
	}
	if mean := float64(rows) / float64(f.Sensors*beats); mean < 18 || mean > 22 {
		t.Errorf("%.1f connections in a snapshot, want 20", mean)
	}
	if share := float64(kept[true]) / float64(kept[true]+kept[false]); share < 0.9 || share > 0.99 {
		t.Errorf("%.3f of the connections were there at the heartbeat before, want some change and much that stays", share)
	}
	if kernelRows == 0 {
		t.Error("no GTP-U socket of a kernel")
	}
}

// BenchmarkNext makes heartbeats of 100 connections and 20 short ones.
func BenchmarkNext(b *testing.B) {
	f := &Fleet{Seed: 3, Sensors: 20, Connections: 100, Short: 20, Start: time.Now(), Interval: 15 * time.Second}
	sensors := f.MakeSensors()
	records := 0
	for i := 0; b.Loop(); i++ {
		beat := sensors[i%len(sensors)].Next()
		records += len(beat.Events) + beat.Snapshot.Records()
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
