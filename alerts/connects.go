package alerts

const (
	connectCount  = "sensor_id:netview_connects:increase"
	connectRatio  = "sensor_id_result:netview_connects:ratio"
	endCount      = "sensor_id:netview_flows_ended:increase"
	resetRatio    = "sensor_id:netview_flows_reset:ratio"
	halfClosedNow = "sensor_id:netview_flows_half_closed:sum"
)

// connects is what becomes of TCP connections.
func connects(s *Settings) Group {
	ratio := func(result string, most float64) string {
		return expr("{ratio}{result=\"{result}\"} > {most}\nand on (sensor_id) {count} >= {least}", "ratio", connectRatio, "result", result, "most", most, "count", connectCount, "least", s.ConnectsLeast)
	}
	return Group{"netview-connects", []Rule{
		Record{connectCount, expr(`sum by (sensor_id) (increase(netview_connects_total{transport="tcp"}[{window}]))`, "window", s.Window)},
		Record{connectRatio, expr("sum by (sensor_id, result) (increase(netview_connects_total{transport=\"tcp\"}[{window}]))\n/ on (sensor_id) group_left {count}", "window", s.Window, "count", connectCount)},
		Alert{Name: "NetviewConnectsRefused", Severity: Warning, For: s.Steady, Keep: s.Calm, Dashboard: Flows, Expr: ratio("refused", s.Refused),
			Summary:     "Connections that {{ $labels.sensor_id }} opens are refused",
			Description: "{{ $value | humanizePercentage }} of its attempts in " + duration(s.Window) + " met a closed port."},
		Alert{Name: "NetviewConnectsTimedOut", Severity: Warning, For: s.Steady, Keep: s.Calm, Dashboard: Flows, Expr: ratio("timed_out", s.TimedOut),
			Summary:     "Connections that {{ $labels.sensor_id }} opens time out",
			Description: "{{ $value | humanizePercentage }} of its attempts in " + duration(s.Window) + " got no answer."},
		Record{endCount, expr(`sum by (sensor_id) (increase(netview_flows_ended_total{final_state=~"established|half-closed"}[{window}]))`, "window", s.Window)},
		Record{resetRatio, expr("sum by (sensor_id) (increase(netview_flows_ended_total{final_state=~\"established|half-closed\",final_detail=~\"reset_.+\"}[{window}]))\n/ {count}", "window", s.Window, "count", endCount)},
		Alert{Name: "NetviewConnectionsReset", Severity: Warning, For: s.Window, Keep: s.Calm, Dashboard: Flows,
			Expr:        expr("{ratio} > {most} and {count} >= {least}", "ratio", resetRatio, "most", s.Reset, "count", endCount, "least", s.EndsLeast),
			Summary:     "Connections of {{ $labels.sensor_id }} end by a reset",
			Description: "{{ $value | humanizePercentage }} of those that were established and ended in " + duration(s.Window) + "."},
		Record{halfClosedNow, `sum by (sensor_id) (netview_flows{state="half-closed"})`},
		Alert{Name: "NetviewHalfClosedFlows", Severity: Warning, For: s.Lasting, Keep: s.Calm, Dashboard: Flows,
			Expr:        expr("{now} > {least}\nand {now} > {part} * sum by (sensor_id) (netview_flows)", "now", halfClosedNow, "least", s.HalfClosedLeast, "part", s.HalfClosed),
			Summary:     "Half-closed flows pile up on {{ $labels.sensor_id }}",
			Description: "{{ $value | humanize }} flows have had one side closed for a minute or longer: a program does not close its sockets."},
		Alert{Name: "NetviewStaleFlows", Severity: Info, Keep: s.Calm, Dashboard: Flows,
			Expr:        expr(`sum by (sensor_id) (increase(netview_flows_ended_total{final_state="stale"}[{lasting}])) > {most}`, "lasting", s.Lasting, "most", s.StaleFlows),
			Summary:     "The ends of flows on {{ $labels.sensor_id }} are missed",
			Description: "About {{ $value | humanize }} flows were gone in " + duration(s.Lasting) + " without a close that was seen."},
	}}
}
