package alerts

// limits is what stops sockets.
func limits(s *Settings) Group {
	const overflows, drops = "netview_tcp_listen_overflows_total", "netview_tcp_listen_drops_total"
	return Group{"netview-limits", []Rule{
		Alert{Name: "NetviewEphemeralPortsLow", Severity: Warning, For: s.Steady, Keep: s.Calm, Dashboard: Connections,
			Expr:        expr("max by (sensor_id) (netview_ephemeral_ports_used_ratio) > {most}", "most", s.EphemeralPorts),
			Summary:     "{{ $labels.sensor_id }} runs out of ephemeral ports",
			Description: "{{ $value | humanizePercentage }} of them are taken by connections to one destination; without any, no more can be opened to it."},
		Alert{Name: "NetviewEphemeralPortsExhausted", Severity: Critical, Keep: s.Calm, Dashboard: Flows,
			Expr:        expr(`sum by (sensor_id) (increase(netview_connects_total{result="addrnotavail"}[{window}])) > 0`, "window", s.Window),
			Summary:     "{{ $labels.sensor_id }} has no ephemeral port left",
			Description: "About {{ $value | humanize }} attempts to connect failed in " + duration(s.Window) + " for want of a local address (EADDRNOTAVAIL)."},
		Alert{Name: "NetviewConntrackNearlyFull", Severity: Critical, For: s.Steady, Keep: s.Calm, Dashboard: Connections,
			Expr:        expr("max by (sensor_id) (netview_conntrack_entries / netview_conntrack_entries_limit) > {most}", "most", s.Conntrack),
			Summary:     "The conntrack table of {{ $labels.sensor_id }} is nearly full",
			Description: "{{ $value | humanizePercentage }} of it are in use; when it is full, packets of new connections are dropped."},
		Alert{Name: "NetviewAcceptQueueFull", Severity: Warning, Keep: s.Calm, Dashboard: Listening,
			Expr:        expr("sum by (sensor_id) (increase({overflows}[{window}])) > {most}", "overflows", overflows, "window", s.Window, "most", s.ListenLost),
			Summary:     "A program on {{ $labels.sensor_id }} accepts too slowly",
			Description: "About {{ $value | humanize }} connections in " + duration(s.Window) + " found the queue of their listener full."},
		Alert{Name: "NetviewListenDrops", Severity: Warning, Keep: s.Calm, Dashboard: Listening,
			Expr:        expr("sum by (sensor_id) (increase({drops}[{window}]) - increase({overflows}[{window}])) > {most}", "overflows", overflows, "drops", drops, "window", s.Window, "most", s.ListenLost),
			Summary:     "Listeners on {{ $labels.sensor_id }} drop connections",
			Description: "About {{ $value | humanize }} in " + duration(s.Window) + ", for another reason than a full queue."},
	}}
}
