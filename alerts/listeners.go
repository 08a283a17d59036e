package alerts

const lastPresent = "sensor_id_port:netview_telecom_listeners:last_present_timestamp_seconds"

// listeners that come and go. One that is replaced, as by a restart, does both, and
// is neither new nor missing.
func listeners(s *Settings) Group {
	const appeared, vanished = "netview_listeners_appeared_total", "netview_listeners_vanished_total"
	more := func(a, b string) string {
		return expr("sum by (sensor_id, transport) (increase({a}[{lasting}]))\n- sum by (sensor_id, transport) (increase({b}[{lasting}]))\n> 0.5", "a", a, "b", b, "lasting", s.Lasting)
	}
	return Group{"netview-listeners", []Rule{
		Alert{Name: "NetviewListenerAppeared", Severity: Info, For: s.Steady, Dashboard: Listening, Expr: more(appeared, vanished),
			Summary:     "{{ $labels.sensor_id }} listens where it did not",
			Description: "About {{ $value | humanize }} listeners of {{ $labels.transport }} more than " + duration(s.Lasting) + " ago."},
		Alert{Name: "NetviewListenerVanished", Severity: Info, For: s.Steady, Dashboard: Listening, Expr: more(vanished, appeared),
			Summary:     "A listener on {{ $labels.sensor_id }} is gone",
			Description: "About {{ $value | humanize }} listeners of {{ $labels.transport }} fewer than " + duration(s.Lasting) + " ago."},
		remember(s, lastPresent, "max by (sensor_id, service, port) (timestamp(netview_telecom_listeners > 0))"),
		Alert{Name: "NetviewTelecomListenerDown", Severity: Critical, For: s.Steady, Dashboard: Listening,
			Expr:        "max by (sensor_id, service, port) (netview_telecom_listeners) == 0\nand on (sensor_id, service, port) " + lastPresent,
			Summary:     "{{ $labels.service }} on {{ $labels.sensor_id }} is down",
			Description: "Nothing listens on UDP port {{ $labels.port }}, where {{ $labels.service }} did within " + duration(s.Remember) + "."},
	}}
}
