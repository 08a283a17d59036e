// Package exporter shows a sensor's newest snapshot to Prometheus. A scrape
// reads what the last heartbeat left and waits for nothing.
//
// Each family of metrics has a file: what it is called, what it means, and how it
// follows from the state. docs/metrics.md is made from the same descriptions.
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
	// Collections are what the last heartbeat, failed or not, tried to read.
	Collections []event.Collection
	// Churn counts the listeners that came and went.
	Churn event.Churn
	// Acknowledged is when the newest acknowledged heartbeat was taken; zero if none was.
	Acknowledged time.Time
	// Delivered counts acknowledged records by kind.
	Delivered map[event.Kind]uint64
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

// families in the order of docs/metrics.md.
var families = []family{connectionMetrics, listenerMetrics, heartbeatMetrics, deliveryMetrics, lossMetrics, featureMetrics}

// collector makes const metrics out of one state, so that a scrape never mixes
// two snapshots.
type collector struct{ state func() State }

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range families {
		for _, m := range f.metrics {
			ch <- m.desc
		}
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	state := c.state()
	for _, f := range families {
		f.collect(&state, func(m *metric, value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
		})
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
