// Package exporter shows a sensor's newest snapshot to Prometheus. A scrape
// reads what the last heartbeat left and waits for nothing.
package exporter

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"

	"github.com/netview-project/netview/event"
)

// State is what the exporter shows. It must not change once it is given.
type State struct {
	// Snapshot is the newest; nil before the first.
	Snapshot *event.Snapshot
	// Acknowledged is when the newest acknowledged heartbeat was taken; zero if none was.
	Acknowledged time.Time
	// Waiting snapshots.
	Waiting int
	// Losses counts by cause.
	Losses map[string]uint64
	// Failures counts the heartbeats at which nothing could be read.
	Failures uint64
}

// NewRegistry returns a registry with every metric of a sensor, each with the
// constant label sensor_id.
func NewRegistry(resource event.Resource, state func() State) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	register := prometheus.WrapRegistererWith(prometheus.Labels{"sensor_id": resource.SensorID}, registry)
	register.MustRegister(
		&collector{state},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector("netview_sensor"),
	)
	return registry
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("netview_"+name, help, labels, nil)
}

var (
	connections = desc("connections", "TCP connections by state, address family and direction, in every network namespace; LISTEN, TIME_WAIT and CLOSE are not connections.", "state", "family", "direction")
	timeWait    = desc("tcp_time_wait_sockets", "TCP sockets in TIME_WAIT.")
	listeners   = desc("listeners", "Listening TCP sockets, and bound and unconnected UDP sockets.", "transport", "family")
	namespaces  = desc("network_namespaces", "Network namespaces that the newest heartbeat read.")
	taken       = desc("heartbeat_taken_timestamp_seconds", "When the newest heartbeat was taken.")
	acked       = desc("heartbeat_acknowledged_timestamp_seconds", "When the newest heartbeat that the collector acknowledged was taken; absent until one is.")
	duration    = desc("heartbeat_duration_seconds", "How long taking the newest heartbeat took.")
	failures    = desc("heartbeat_failures_total", "Heartbeats at which nothing could be read.")
	waiting     = desc("queue_snapshots", "Snapshots that wait to be sent.")
	losses      = desc("losses_total", "What could not be read or delivered, by cause.", "cause")
)

// collector makes const metrics out of one state, so that a scrape never mixes
// two snapshots.
type collector struct{ state func() State }

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connections, timeWait, listeners, namespaces, taken, acked, duration, failures, waiting, losses} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	state := c.state()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	counter(failures, float64(state.Failures))
	gauge(waiting, float64(state.Waiting))
	for cause, n := range state.Losses {
		counter(losses, float64(n), cause)
	}
	if !state.Acknowledged.IsZero() {
		gauge(acked, seconds(state.Acknowledged))
	}
	if state.Snapshot == nil {
		return
	}
	h := state.Snapshot.Heartbeat
	gauge(taken, seconds(h.Timestamp))
	gauge(duration, h.CollectDuration.Seconds())
	gauge(timeWait, float64(h.TimeWait))
	gauge(namespaces, float64(h.Namespaces))
	for key, n := range countConnections(state.Snapshot.Connections) {
		gauge(connections, n, key[0], key[1], key[2])
	}
	for key, n := range countListeners(state.Snapshot.Listeners) {
		gauge(listeners, n, key[0], key[1])
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

var families = []string{"ipv4", "ipv6"}

// countConnections counts by state, family and direction. The combinations that
// people draw and compare are there with 0 too.
func countConnections(rows []*event.Connection) map[[3]string]float64 {
	counts := map[[3]string]float64{}
	for _, family := range families {
		for _, direction := range []string{event.DirectionInbound, event.DirectionOutbound, event.DirectionUnknown} {
			counts[[3]string{"established", family, direction}] = 0
		}
	}
	for _, c := range rows {
		counts[[3]string{c.State, c.Family, c.Direction}]++
	}
	return counts
}

func countListeners(rows []*event.Listener) map[[2]string]float64 {
	counts := map[[2]string]float64{}
	for _, family := range families {
		for _, transport := range []string{event.TransportTCP, event.TransportUDP} {
			counts[[2]string{transport, family}] = 0
		}
	}
	for _, l := range rows {
		counts[[2]string{l.Transport, l.Family}]++
	}
	return counts
}
