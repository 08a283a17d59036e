package exporter

var (
	taken       = gauge("heartbeat_taken_timestamp_seconds", "When the newest heartbeat was taken.")
	acked       = gauge("heartbeat_acknowledged_timestamp_seconds", "When the newest heartbeat that the collector acknowledged was taken; absent until one is.")
	interval    = gauge("heartbeat_interval_seconds", "Time between two heartbeats.")
	duration    = gauge("heartbeat_duration_seconds", "How long taking the newest heartbeat took.")
	failures    = counter("heartbeat_failures_total", "Heartbeats at which nothing could be read.")
	success     = gauge("heartbeat_collection_success", "Whether the last heartbeat could read what the collection reads.", "collection")
	collectTime = gauge("heartbeat_collection_duration_seconds", "How long the last heartbeat took for the collection.", "collection")
	namespaces  = gauge("network_namespaces", "Network namespaces that the newest heartbeat read.")
)

var heartbeatMetrics = family{
	title:   "Heartbeat",
	metrics: []*metric{taken, acked, interval, duration, failures, success, collectTime, namespaces},
	collect: func(s *State, emit emit) {
		emit(failures, float64(s.Failures))
		for _, c := range s.Collections {
			ok := 1.0
			if c.Err != nil {
				ok = 0
			}
			emit(success, ok, c.Name)
			emit(collectTime, c.Took.Seconds(), c.Name)
		}
		if !s.Acknowledged.IsZero() {
			emit(acked, seconds(s.Acknowledged))
		}
		if s.Snapshot == nil {
			return
		}
		h := s.Snapshot.Heartbeat
		emit(taken, seconds(h.Timestamp))
		emit(interval, h.Interval.Seconds())
		emit(duration, h.CollectDuration.Seconds())
		emit(namespaces, float64(h.Namespaces))
	},
}
