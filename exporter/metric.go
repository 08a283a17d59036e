package exporter

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/netview-project/netview/event"
)

// metric is described once, for the exposition and for docs/metrics.md.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	histogram  bool // in place of kind
	labels     []string
	desc       *prometheus.Desc
}

func newMetric(kind prometheus.ValueType, name, help string, labels []string) *metric {
	name = "netview_" + name
	return &metric{name: name, help: help, kind: kind, labels: labels, desc: prometheus.NewDesc(name, help, labels, nil)}
}

func gauge(name, help string, labels ...string) *metric {
	return newMetric(prometheus.GaugeValue, name, help, labels)
}

func counter(name, help string, labels ...string) *metric {
	return newMetric(prometheus.CounterValue, name, help, labels)
}

// histogram is a metric without labels, of native and of classic buckets.
func histogram(name, help string) *metric {
	m := newMetric(prometheus.UntypedValue, name, help, nil)
	m.histogram = true
	return m
}

// emit gives one sample; labels are values in the order of the metric's.
type emit func(m *metric, value float64, labels ...string)

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// family is a group of metrics that follow from the same part of the state.
type family struct {
	title   string
	metrics []*metric
	collect func(*event.State, emit)
	// histograms gives those of the family; nil where it has none.
	histograms func(*event.State, func(*metric, *dto.Histogram))
}

// Description is what docs/metrics.md says of a metric.
type Description struct {
	Family, Name, Type, Help string
	Labels                   []string
}

// Describe returns every metric of netview's own, by family. Those of the Go
// runtime, of the process and of the build are client_golang's.
func Describe() []Description {
	var list []Description
	for _, f := range families {
		for _, m := range f.metrics {
			d := Description{Family: f.title, Name: m.name, Type: "gauge", Help: m.help, Labels: m.labels}
			switch {
			case m.histogram:
				d.Type = "histogram"
			case m.kind == prometheus.CounterValue:
				d.Type = "counter"
			}
			list = append(list, d)
		}
	}
	return list
}
