package fleet

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/netview-project/netview/event"
)

// TestStories: each story is told in each cycle by the first host of its role, and by
// nobody else.
func TestStories(t *testing.T) {
	f := small()
	f.Seed, f.Sensors, f.Stories = 50, 24, true // every role is there
	const cycles = 2
	scanned, most, usual := map[string]map[uint16]bool{}, map[string]int{}, map[string]int{}
	answered, asked := map[bool]int{}, map[bool]int{}
	without := map[string]int{}
	for i, s := range f.MakeSensors() {
		plain := *f
		plain.Stories = false
		same := plain.MakeSensors()[i]
		id := s.Resource.SensorID
		for n := 1; n <= cycles*storyCycle; n++ {
			b, other := s.Next(), same.Next()
			in := n % storyCycle
			quiet := in < portScan.first || in >= gtpULoss.last // no story, and none that began before
			b.Snapshot.Heartbeat.Sequence, other.Snapshot.Heartbeat.Sequence = 0, 0
			if quiet && !reflect.DeepEqual(b.Snapshot.Heartbeat, other.Snapshot.Heartbeat) {
				t.Fatalf("%s, heartbeat %d: %+v, without stories %+v", id, n, b.Snapshot.Heartbeat, other.Snapshot.Heartbeat)
			}
			for _, e := range b.Events {
				switch e := e.(type) {
				case *event.NetworkConnect:
					if e.DestinationPort < 22 && e.Result == "refused" {
						if scanned[id] == nil {
							scanned[id] = map[uint16]bool{}
						}
						scanned[id][e.DestinationPort] = true
					}
				case *event.DNSQuery:
					during := in >= outage.first+1 && in < outage.last
					asked[during]++
					if e.RCode == "NOERROR" {
						answered[during]++
					}
				}
			}
			most[id] = max(most[id], len(b.Snapshot.Connections))
			usual[id] = max(usual[id], len(other.Snapshot.Connections))
			if strings.Contains(id, "upf") && !slices.ContainsFunc(b.Snapshot.Listeners, func(l *event.Listener) bool { return l.LocalPort == gtpU }) {
				without[id]++
			}
		}
	}
	if len(scanned) != 1 || !strings.Contains(fmt.Sprint(scanned), "worker") {
		t.Errorf("ports are scanned by %v", scanned)
	}
	var crowded []string
	for id := range most {
		if most[id] > 3*usual[id] {
			crowded = append(crowded, id)
		}
	}
	if len(crowded) != 1 || !strings.Contains(crowded[0], "web") {
		t.Errorf("crowds at %v", crowded)
	}
	if in, out := float64(answered[true])/float64(asked[true]), float64(answered[false])/float64(asked[false]); in > 0.25 || out < 0.85 {
		t.Errorf("%.2f of the questions are answered in an outage, %.2f otherwise", in, out)
	}
	if len(without) != 1 {
		t.Errorf("without GTP-U: %v", without)
	}
	for id, beats := range without {
		if want := cycles * (gtpULoss.last - gtpULoss.first); beats != want {
			t.Errorf("%s has no GTP-U at %d heartbeats, want %d", id, beats, want)
		}
	}
}

// TestMetrics: heartbeats that are acknowledged in any order count each once, those of
// before do not, and the newest stays.
func TestMetrics(t *testing.T) {
	sensors := small().MakeSensors()[:1]
	registry := prometheus.NewRegistry()
	before, first, second := sensors[0].Next(), sensors[0].Next(), sensors[0].Next()
	metrics := NewMetrics(sensors, first.Snapshot.Heartbeat.Timestamp, registry)
	metrics.Acknowledged(&before)
	metrics.Acknowledged(&second)
	metrics.Acknowledged(&first)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var events float64
	for _, f := range families {
		switch f.GetName() {
		case "netview_events_total":
			for _, m := range f.Metric {
				events += m.Counter.GetValue()
			}
		case "netview_heartbeat_taken_timestamp_seconds":
			if got, want := f.Metric[0].Gauge.GetValue(), float64(second.Snapshot.Heartbeat.Timestamp.UnixMilli())/1000; got != want {
				t.Errorf("the newest heartbeat is of %f, want %f", got, want)
			}
		}
	}
	if want := len(first.Events) + len(second.Events); int(events) != want {
		t.Errorf("%g events, want %d", events, want)
	}
}
