package exporter

import "github.com/netview-project/netview/event"

var (
	now         = gauge("time_seconds", "The sensor's clock when it was scraped.")
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
	metrics: []*metric{now, taken, acked, interval, duration, failures, success, collectTime, namespaces},
	collect: func(s *event.State, emit emit) {
		if !s.Now.IsZero() {
			emit(now, seconds(s.Now))
		}
		emit(failures, float64(s.Failures))
		for _, c := range s.Collections {
			emit(success, truth(c.Err == nil), c.Name)
			emit(collectTime, c.Took.Seconds(), c.Name)
		}
		if d := s.Delivery; d != nil && !d.Acknowledged.IsZero() {
			emit(acked, seconds(d.Acknowledged))
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
