package exporter

var (
	delivered = counter("records_acknowledged_total", "Records that the collector acknowledged, by kind.", "kind")
	waiting   = gauge("queue_snapshots", "Snapshots that wait to be sent.")
)

var deliveryMetrics = family{
	title:   "Delivery",
	metrics: []*metric{delivered, waiting},
	collect: func(s *State, emit emit) {
		emit(waiting, float64(s.Waiting))
		for kind, n := range s.Delivered {
			emit(delivered, float64(n), string(kind))
		}
	},
}
