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
	dto "github.com/prometheus/client_model/go"

	"github.com/netview-project/netview/event"
)

// NewRegistry returns a registry with every metric of a sensor, each with the
// constant label sensor_id.
func NewRegistry(resource event.Resource, state func() event.State) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	register := prometheus.WrapRegistererWith(prometheus.Labels{"sensor_id": resource.SensorID}, registry)
	register.MustRegister(
		NewCollector(state),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector("netview_sensor"),
	)
	return registry
}

// families in the order of docs/metrics.md.
var families = []family{connectionMetrics, listenerMetrics, flowMetrics, dnsMetrics, limitMetrics, heartbeatMetrics, deliveryMetrics, lossMetrics, featureMetrics}

// NewCollector returns a collector of the metrics that follow from the state; it calls
// state at each scrape.
func NewCollector(state func() event.State) prometheus.Collector { return &collector{state} }

// collector makes const metrics out of one state, so that a scrape never mixes
// two snapshots.
type collector struct{ state func() event.State }

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
		if f.histograms != nil {
			f.histograms(&state, func(m *metric, h *dto.Histogram) { ch <- measured{m.desc, h} })
		}
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
