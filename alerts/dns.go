package alerts

const (
	queryCount   = "sensor_id:netview_dns_queries:increase"
	rcodeRatio   = "sensor_id_rcode:netview_dns_queries:ratio"
	noAnswer     = "sensor_id:netview_dns_queries_unanswered:ratio"
	latencyP95   = "sensor_id:netview_dns_latency_seconds:p95"
	nxDomainRate = "sensor_id:netview_dns_queries_nxdomain:rate"
)

// dns is of queries to port 53; mDNS has no answers to miss, and what is encrypted
// tells none.
func dns(s *Settings) Group {
	increase := func(matchers string) string {
		return expr(`increase(netview_dns_queries_total{protocol="dns",{matchers}}[{window}])`, "matchers", matchers, "window", s.Window)
	}
	enough := expr("\nand on (sensor_id) {count} >= {least}", "count", queryCount, "least", s.DNSLeast)
	return Group{"netview-dns", []Rule{
		Record{queryCount, "sum by (sensor_id) (" + increase(`result=~"answered|no_answer"`) + ")"},
		Record{rcodeRatio, "sum by (sensor_id, rcode) (" + increase(`result="answered"`) + ")\n/ on (sensor_id) group_left " + queryCount},
		Record{noAnswer, "sum by (sensor_id) (" + increase(`result="no_answer"`) + ")\n/ " + queryCount},
		Record{latencyP95, expr("histogram_quantile(0.95, sum by (sensor_id, le) (rate(netview_dns_latency_seconds_bucket[{window}])))", "window", s.Window)},
		Record{nxDomainRate, expr(`sum by (sensor_id) (rate(netview_dns_queries_total{protocol="dns",rcode="NXDOMAIN"}[{window}]))`, "window", s.Window)},
		Alert{Name: "NetviewDNSFailing", Severity: Warning, For: s.Steady, Keep: s.Calm, Dashboard: DNS,
			Expr:        expr(`{ratio}{rcode!~"NOERROR|NXDOMAIN"} > {most}`, "ratio", rcodeRatio, "most", s.DNSFailing) + enough,
			Summary:     "DNS fails for {{ $labels.sensor_id }}",
			Description: "{{ $value | humanizePercentage }} of its queries in " + duration(s.Window) + " were answered {{ $labels.rcode }}."},
		Alert{Name: "NetviewDNSUnanswered", Severity: Warning, For: s.Steady, Keep: s.Calm, Dashboard: DNS,
			Expr:        expr("{ratio} > {most}", "ratio", noAnswer, "most", s.DNSUnanswered) + enough,
			Summary:     "DNS servers do not answer {{ $labels.sensor_id }}",
			Description: "{{ $value | humanizePercentage }} of its queries in " + duration(s.Window) + " got no answer."},
		Alert{Name: "NetviewDNSSlow", Severity: Warning, For: s.Window, Keep: s.Calm, Dashboard: DNS,
			Expr:        expr("{p95} > {most}", "p95", latencyP95, "most", s.DNSSlow) + enough,
			Summary:     "DNS is slow for {{ $labels.sensor_id }}",
			Description: "One answer in twenty takes longer than {{ $value | humanizeDuration }}."},
		Alert{Name: "NetviewDNSNXDomainBurst", Severity: Warning, For: s.Steady, Keep: s.Calm, Dashboard: DNS,
			Expr: expr("{rate} > {least}\nand {rate} > {times} * avg_over_time({rate}[{history}] offset {settling})",
				"rate", nxDomainRate, "least", s.NXDomainRate, "times", s.NXDomainTimes, "history", s.History, "settling", s.Settling),
			Summary:     "{{ $labels.sensor_id }} asks for names that do not exist",
			Description: "{{ $value | humanize }} of its queries each second are answered NXDOMAIN, many times more than in the " + duration(s.History) + " before: a scan, malware that makes up names, or a wrong search domain."},
	}}
}
