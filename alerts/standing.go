package alerts

const (
	connectionsNow    = "sensor_id:netview_connections:sum"
	connectionsMean   = "sensor_id:netview_connections:history_mean"
	connectionsSpread = "sensor_id:netview_connections:history_stddev"
	ownScore          = "sensor_id:netview_connections:own_score"
	fleetMedian       = "fleet:netview_connections:median"
	fleetSpread       = "fleet:netview_connections:mad"
	fleetScore        = "sensor_id:netview_connections:fleet_score"
)

// standing says who stands out: from its own history, and from the fleet.
func standing(s *Settings) Group {
	return Group{"netview-standing-out", []Rule{
		Record{connectionsNow, "sum by (sensor_id) (netview_connections)"},
		// Half of it has to be there: a host that starts has no history to leave.
		Record{connectionsMean, expr("avg_over_time({now}[{history}] offset {settling})\nand count_over_time({now}[{history}] offset {settling}) >= {half}", "now", connectionsNow, "history", s.History, "settling", s.Settling, "half", int(s.History/s.Interval/2))},
		Record{connectionsSpread, expr("stddev_over_time({now}[{history}] offset {settling})", "now", connectionsNow, "history", s.History, "settling", s.Settling)},
		// A sensor whose history is flat would stand out with one connection more: the
		// spread is taken to be 5, and 5 % of the mean, at least.
		Record{ownScore, expr("({now} - {mean})\n/ clamp_min(({spread} > 0.05 * {mean}) or 0.05 * {mean}, 5)", "now", connectionsNow, "mean", connectionsMean, "spread", connectionsSpread)},
		Record{fleetMedian, expr("quantile(0.5, {now})", "now", connectionsNow)},
		Record{fleetSpread, expr("quantile(0.5, abs({now} - scalar({median})))", "now", connectionsNow, "median", fleetMedian)},
		Record{fleetScore, expr("0.6745 * ({now} - scalar({median})) / scalar(clamp_min({mad}, 1))\nand on () (count({now}) >= {least})", "now", connectionsNow, "median", fleetMedian, "mad", fleetSpread, "least", s.FleetLeast)},
		Alert{Name: "NetviewConnectionsUnusual", Severity: Warning, For: s.Window, Keep: s.Calm, Dashboard: Connections,
			Expr:        expr("abs({score}) > {most}\nand on (sensor_id) abs({now} - {mean}) > {least}", "score", ownScore, "most", s.OwnScore, "now", connectionsNow, "mean", connectionsMean, "least", s.StandsOutLeast),
			Summary:     "{{ $labels.sensor_id }} has left its own history",
			Description: "Its connections are {{ $value | humanize }} standard deviations away from what they were in the " + duration(s.History) + " before."},
		Alert{Name: "NetviewSensorStandsOut", Severity: Info, For: s.Lasting, Keep: s.Calm, Dashboard: Summary,
			Expr:        expr("abs({score}) > {most}\nand on (sensor_id) abs({now} - scalar({median})) > {least}", "score", fleetScore, "most", s.FleetScore, "now", connectionsNow, "median", fleetMedian, "least", s.StandsOutLeast),
			Summary:     "{{ $labels.sensor_id }} stands out in the fleet",
			Description: "Its connections are far from the fleet's median: a modified z-score of {{ $value | humanize }}."},
	}}
}
