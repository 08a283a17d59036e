package alerts

// Causes of loss by what they ask for; a test has the reasons for those left out.
const (
	eventLosses  = "bpf_.+"
	dnsLosses    = "dns_message_malformed|dns_query_evicted|dns_stream_(gap|evicted)"
	readLosses   = "socket_.+|namespace_stuck|process_unreadable"
	recordLosses = "refused|spool_.+"
)

const spoolLeft = "sensor_id_lane:netview_spool:time_left_seconds"

// delivery is what is lost, or soon will be, on the way to the collector.
func delivery(s *Settings) Group {
	lost := func(causes string) string {
		return expr(`sum by (sensor_id, cause) (increase(netview_losses_total{cause=~"{causes}"}[{window}])) > 0`, "causes", causes, "window", s.Window)
	}
	return Group{"netview-delivery", []Rule{
		Alert{Name: "NetviewEventsLost", Severity: Warning, Keep: s.Calm, Dashboard: Health, Expr: lost(eventLosses),
			Summary:     "{{ $labels.sensor_id }} loses events",
			Description: "About {{ $value | humanize }} in " + duration(s.Window) + " did not come from the kernel: {{ $labels.cause }}."},
		Alert{Name: "NetviewDNSMessagesLost", Severity: Info, Keep: s.Calm, Dashboard: DNS, Expr: lost(dnsLosses),
			Summary:     "{{ $labels.sensor_id }} cannot follow all of DNS",
			Description: "About {{ $value | humanize }} in " + duration(s.Window) + ": {{ $labels.cause }}."},
		Alert{Name: "NetviewSocketsUnread", Severity: Info, Keep: s.Calm, Dashboard: Health, Expr: lost(readLosses),
			Summary:     "{{ $labels.sensor_id }} cannot read all sockets",
			Description: "About {{ $value | humanize }} in " + duration(s.Window) + ": {{ $labels.cause }}."},
		Alert{Name: "NetviewRecordsLost", Severity: Critical, Keep: s.Calm, Dashboard: Health, Expr: lost(recordLosses),
			Summary:     "Records of {{ $labels.sensor_id }} are lost",
			Description: "About {{ $value | humanize }} in " + duration(s.Window) + " will never be stored: {{ $labels.cause }}."},
		Alert{Name: "NetviewSpoolInMemory", Severity: Warning, For: s.Steady, Dashboard: Health,
			Expr:        "min by (sensor_id) (netview_spool_on_disk) == 0",
			Summary:     "The spool of {{ $labels.sensor_id }} has no disk",
			Description: "What is not yet acknowledged is kept in memory alone: it ends with the sensor, and there is little room."},
		Record{spoolLeft, expr("max by (sensor_id, lane) (\n  (netview_spool_limit_bytes - netview_spool_bytes)\n  / (deriv(netview_spool_bytes[{lasting}]) > 0)\n  and netview_spool_bytes > {noise} * netview_spool_limit_bytes\n)", "lasting", s.Lasting, "noise", s.SpoolNoise)},
		Alert{Name: "NetviewSpoolFilling", Severity: Warning, For: s.Steady, Keep: s.Calm, Dashboard: Health,
			Expr:        expr("{left} < {least}", "left", spoolLeft, "least", s.SpoolTimeLeft.Seconds()),
			Summary:     "The spool of {{ $labels.sensor_id }} fills",
			Description: "At this pace the {{ $labels.lane }} that wait for the collector are out of room in {{ $value | humanizeDuration }}."},
		Alert{Name: "NetviewSpoolNearlyFull", Severity: Critical, For: s.Steady, Keep: s.Calm, Dashboard: Health,
			Expr:        expr("max by (sensor_id, lane) (netview_spool_bytes / netview_spool_limit_bytes) > {most}", "most", s.SpoolNearlyFull),
			Summary:     "The spool of {{ $labels.sensor_id }} is nearly full",
			Description: "The {{ $labels.lane }} that wait take {{ $value | humanizePercentage }} of their room; beyond it the oldest are lost."},
		Alert{Name: "NetviewDeliveryBehind", Severity: Warning, For: s.Steady, Dashboard: Health,
			Expr:        expr("max by (sensor_id, lane) (netview_time_seconds - on (job, instance, sensor_id) group_right netview_spool_oldest_timestamp_seconds) > {most}", "most", s.DeliveryBehind.Seconds()),
			Summary:     "{{ $labels.sensor_id }} is behind with its {{ $labels.lane }}",
			Description: "The oldest record that waits for the collector is {{ $value | humanizeDuration }} old."},
	}}
}
