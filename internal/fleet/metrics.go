package fleet

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/exporter"
	"github.com/netview-project/netview/sensor/dns"
)

// Metrics are those of the sensors as Prometheus would find them on their hosts, in one
// exposition. Heartbeats of before a time do not count: nobody could have asked then, and
// counters that rise by an hour at once would tell of traffic that never was. There are
// no metrics of a process, since there is none.
type Metrics struct {
	since   time.Time
	sensors map[string]*tally
}

// tally is what a sensor has told.
type tally struct {
	mutex        sync.Mutex
	newest       *event.Summary
	acknowledged time.Time
	delivered    map[event.Kind]uint64
	kernel       event.Kernel
	dns          *dns.Counters
}

// NewMetrics makes metrics of the sensors and registers them.
func NewMetrics(sensors []*Sensor, since time.Time, registry prometheus.Registerer) *Metrics {
	m := &Metrics{since, map[string]*tally{}}
	for _, s := range sensors {
		t := &tally{delivered: map[event.Kind]uint64{}, kernel: event.Kernel{Events: map[event.Kind]uint64{}}, dns: dns.NewCounters()}
		m.sensors[s.Resource.SensorID] = t
		prometheus.WrapRegistererWith(prometheus.Labels{"sensor_id": s.Resource.SensorID}, registry).MustRegister(exporter.NewCollector(t.state))
	}
	return m
}

// Acknowledged counts a heartbeat and what came with it. It may be called for several
// at once, and in any order.
func (m *Metrics) Acknowledged(b *Beat) {
	if h := b.Snapshot.Heartbeat; !h.Timestamp.Before(m.since) {
		m.sensors[h.Resource.SensorID].add(b)
	}
}

func (t *tally) add(b *Beat) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	for _, e := range b.Events {
		t.kernel.Events[e.Kind()]++
		t.delivered[e.Kind()]++
		switch e := e.(type) {
		case *event.NetworkFlow:
			t.kernel.BytesSent += e.BytesSent.Value
			t.kernel.BytesReceived += e.BytesReceived.Value
			t.kernel.Retransmits += e.Retransmits.Value
		case *event.DNSQuery:
			t.dns.Query(e)
		case *event.DNSLookup:
			t.dns.Lookup(e)
		}
	}
	for _, e := range b.Snapshot.Rows() {
		t.delivered[e.Kind()]++
	}
	t.delivered[event.KindHeartbeat]++
	if h := b.Snapshot.Heartbeat; t.newest == nil || h.Heartbeat > t.newest.Heartbeat.Heartbeat {
		t.newest, t.acknowledged = b.Snapshot.Summarize(), h.Timestamp
	}
}

func (t *tally) state() event.State {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	kernel := t.kernel
	kernel.Events, kernel.DNS = maps.Clone(t.kernel.Events), t.dns.State()
	return event.State{Snapshot: t.newest, Kernel: &kernel, Delivery: &event.Delivery{Acknowledged: t.acknowledged, Delivered: maps.Clone(t.delivered)}}
}
