package exporter

import "github.com/netview-project/netview/event"

var losses = counter("losses_total", "What could not be read or delivered, by cause; docs/metrics.md explains each.", "cause")

var lossMetrics = family{
	title:   "Losses",
	metrics: []*metric{losses},
	collect: func(s *event.State, emit emit) {
		for cause, n := range s.Losses {
			emit(losses, float64(n), cause)
		}
	},
}
