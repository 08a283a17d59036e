package alerts

const (
	requestRate  = "instance:netview_receiver_requests:rate"
	commitErrors = "instance:netview_receiver_commits:error_rate"
	commitP95    = "instance:netview_receiver_commit_duration_seconds:p95"
	recordRate   = "instance:netview_receiver_records:rate"
)

// collectors are those with the receiver. The Collector leaves suffixes out of its
// names unless its readers say otherwise; the records take both.
func collectors(s *Settings) Group {
	rate := func(by, name, matchers string) string {
		return expr(`sum by (job, instance{by}) (rate({__name__=~"{name}"{matchers}}[{window}]))`, "by", by, "name", name, "matchers", matchers, "window", s.Window)
	}
	up := expr(`up{job="{job}"}`, "job", s.CollectorJob)
	return Group{"netview-collectors", []Rule{
		Alert{Name: "NetviewCollectorDown", Severity: Critical, For: s.ScrapeFails, Dashboard: Health,
			Expr:        up + " == 0 or absent(" + up + ")",
			Summary:     "A collector is down: {{ $labels.job }} {{ $labels.instance }}",
			Description: "Prometheus gets no metrics from it. Sensors keep what they have in their spools."},
		Record{requestRate, rate(", answer", "netview_receiver_requests(_total)?", "")},
		Alert{Name: "NetviewReceiverFailing", Severity: Critical, For: s.Steady, Keep: s.Calm, Dashboard: Health,
			Expr:        expr("sum by (job, instance) ({rate}{answer=~\"failed|not_ready\"})\n/ sum by (job, instance) ({rate}) > {most}", "rate", requestRate, "most", s.ReceiverFailing),
			Summary:     "{{ $labels.instance }} cannot store",
			Description: "It tells sensors to try again for {{ $value | humanizePercentage }} of their requests: ClickHouse does not take them."},
		Alert{Name: "NetviewReceiverOverloaded", Severity: Warning, For: s.Window, Keep: s.Calm, Dashboard: Health,
			Expr:        expr(`sum by (job, instance) ({rate}{answer="overloaded"}) > 0`, "rate", requestRate),
			Summary:     "{{ $labels.instance }} has too much to do",
			Description: "It turns {{ $value | humanize }} requests away each second, which sensors send again: it has no memory left for more."},
		Record{recordRate, rate(", outcome", "netview_receiver_records(_total)?", "")},
		Alert{Name: "NetviewReceiverRefusing", Severity: Warning, Keep: s.Calm, Dashboard: Health,
			Expr:        expr(`sum by (job, instance, outcome) ({rate}{outcome=~"unknown_kind|missing|wrong_type|out_of_range"}) > 0`, "rate", recordRate),
			Summary:     "{{ $labels.instance }} refuses records",
			Description: "It refuses {{ $value | humanize }} records each second for good: {{ $labels.outcome }}."},
		Alert{Name: "NetviewRecordsQuarantined", Severity: Warning, Keep: s.Calm, Dashboard: Health,
			Expr:        expr(`sum by (job, instance) ({rate}{outcome="quarantined"}) > 0`, "rate", recordRate),
			Summary:     "{{ $labels.instance }} puts records into quarantine",
			Description: "The clock of a sensor cannot be believed: {{ $value | humanize }} records each second are kept apart, and are in no view."},
		Alert{Name: "NetviewReceiverFilesUnreadable", Severity: Warning, For: s.Steady, Dashboard: Health,
			Expr:        `max by (job, instance, file) (netview_receiver_unreadable_files) > 0`,
			Summary:     "{{ $labels.instance }} cannot read a file again: {{ $labels.file }}",
			Description: "Who may send is what an earlier access file said; with certificates that cannot be read no new connection is let in."},
		Record{commitErrors, rate("", "netview_receiver_commits(_total)?", `,result="error"`)},
		Alert{Name: "NetviewCommitsFailing", Severity: Warning, For: s.Window, Keep: s.Calm, Dashboard: Health,
			Expr:        commitErrors + " > 0",
			Summary:     "Commits of {{ $labels.instance }} fail",
			Description: "ClickHouse refuses {{ $value | humanize }} commits each second; sensors send their records again."},
		Record{commitP95, expr("histogram_quantile(0.95, {rate})", "rate", rate(", le", "netview_receiver_commit_duration(_seconds)?_bucket", ""))},
		Alert{Name: "NetviewCommitsSlow", Severity: Warning, For: s.Window, Keep: s.Calm, Dashboard: Health,
			Expr:        expr("{p95} > {most}", "p95", commitP95, "most", s.CommitSlow),
			Summary:     "Commits of {{ $labels.instance }} are slow",
			Description: "One in twenty takes longer than {{ $value | humanizeDuration }}; sensors wait for them."},
	}}
}
