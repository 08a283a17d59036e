package exporter

import "github.com/netview-project/netview/event"

var (
	delivered = counter("records_acknowledged_total", "Records that the collector acknowledged, by kind.", "kind")
	failed    = counter("send_failures_total", "Attempts to send a request that failed and are repeated, by cause: unreachable (also a TLS that fails), overloaded, denied (for who the sensor is), other.", "cause")
	waiting   = gauge("queue_snapshots", "Snapshots that wait to be sent, or are being sent.")
	onDisk    = gauge("spool_on_disk", "Whether what is sent is kept on disk (1), or in memory only (0).")
	records   = gauge("spool_records", "Records that wait in the spool, by lane.", "lane")
	bytes     = gauge("spool_bytes", "What the spool takes on disk and in memory, by lane.", "lane")
	limit     = gauge("spool_limit_bytes", "What the spool may take, by lane; beyond it the oldest records are lost.", "lane")
	oldest    = gauge("spool_oldest_timestamp_seconds", "When the oldest record that waits was appended, by lane; absent where none waits.", "lane")
	damaged   = counter("spool_damaged_total", "Segments and snapshots on disk that could not be read to their end.")
	lost      = counter("spool_lost_records_total", "Records that were lost after they were appended, by cause and kind; the kind is empty where it is not known.", "cause", "kind")
)

var deliveryMetrics = family{
	title:   "Delivery",
	metrics: []*metric{delivered, failed, waiting, onDisk, records, bytes, limit, oldest, damaged, lost},
	collect: func(s *event.State, emit emit) {
		d := s.Delivery
		if d == nil {
			return
		}
		emit(waiting, float64(d.Waiting))
		emit(onDisk, truth(d.Disk == nil))
		emit(damaged, float64(d.Damaged))
		for kind, n := range d.Delivered {
			emit(delivered, float64(n), string(kind))
		}
		for cause, n := range d.Failed {
			emit(failed, float64(n), cause)
		}
		for name, lane := range map[string]event.Lane{"events": d.Events, "snapshots": d.Snapshots} {
			emit(records, float64(lane.Records), name)
			emit(bytes, float64(lane.Bytes), name)
			emit(limit, float64(lane.Limit), name)
			if !lane.Oldest.IsZero() {
				emit(oldest, seconds(lane.Oldest), name)
			}
		}
		for cause, kinds := range d.Lost {
			for kind, n := range kinds {
				emit(lost, float64(n), cause, string(kind))
			}
		}
	},
}
