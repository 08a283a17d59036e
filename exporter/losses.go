package exporter

var losses = counter("losses_total", "What could not be read or delivered, by cause; docs/metrics.md explains each.", "cause")

var lossMetrics = family{
	title:   "Losses",
	metrics: []*metric{losses},
	collect: func(s *State, emit emit) {
		for cause, n := range s.Losses {
			emit(losses, float64(n), cause)
		}
	},
}
