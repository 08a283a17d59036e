package dashboards

import "slices"

func dnsView() view {
	const outcome = "if(result = 'answered', rcode, result)"
	queries := eventsOf([]string{"dns_query"}, byName, byProcess)
	search := func(kind string) string {
		return call("events_search", "kind", "'"+kind+"'", "process", typed("process"), "address", "''", "port", "0", "name", typed("name"), "limit", "200")
	}
	// names are a view of them with the filters of the dashboard.
	names := func(view string) string {
		return call(view, "process", typed("process"), "name", typed("name"), "limit", "500")
	}
	newest := "ORDER BY timestamp DESC, sensor_id, session, sequence DESC"
	return view{uid: DNS, title: "DNS", about: "Which names were asked for, by which process, and how that went: queries on the wire, lookups at the application, and names as they were used.",
		variables: []*Variable{nameVariable(), processVariable()},
		sections: []section{
			{"Now", []line{row(4,
				numbers(16, "Queries", "In the time range, of the picked sensors and filters (ClickHouse, events of kind dns_query). Failed has another rcode than NOERROR; no answer came within 5.5 s after the last transmission.", noDNS, queries+"\nHAVING count() > 0",
					number("asked", "Queries", count).as("count()"), number("failing", "Failed", ratio).as("countIf(result = 'answered' AND rcode != 'NOERROR') / count()").judged(levels(green, .05, orange, .2, red)),
					number("silent", "No answer", ratio).as("countIf(result = 'no_answer') / count()").judged(levels(green, .01, orange, .05, red)), number("median", "Median latency", seconds).as("quantile(0.5)(latency_secs)"),
					number("slow", "95 % latency", seconds).as("quantile(0.95)(latency_secs)").judged(levels(green, .2, orange, 1., red)), number("names", "Names", count).as("uniq(name)")),
				numbers(8, "Lookups", "Calls of getaddrinfo in the time range (ClickHouse, events of kind dns_lookup).", noDNS, eventsOf([]string{"dns_lookup"}, byName, byProcess)+"\nHAVING count() > 0",
					number("calls", "Calls", count).as("count()"), number("failing", "Failed", ratio).as("countIf(result != 'ok') / count()").judged(levels(green, .05, orange, .2, red)), number("slow", "95 % latency", seconds).as("quantile(0.95)(latency_secs)")))}},
			{"How it moved", []line{row(8,
				graph(8, "Queries by outcome", "In each interval, by rcode or no answer (ClickHouse). Pale red is a server that does not answer, red one that fails, yellow names that do not exist.", noDNS, count, dnsOutcomes,
					perInterval(outcome, dnsOutcomes.values(), queries)).bars(),
				graph(8, "Latency", "From the first transmission to the answer, of the picked sensors (Prometheus, netview_dns_latency_seconds); the other filters do not apply.", noMetrics, seconds, named{{"median", "", green}, {"p95", "95 %", orange}, {"p99", "99 %", red}},
					promql("median", "histogram_quantile(0.5, sum by (le) (rate(netview_dns_latency_seconds_bucket{$SENSOR}[$__rate_interval])))"), promql("p95", "histogram_quantile(0.95, sum by (le) (rate(netview_dns_latency_seconds_bucket{$SENSOR}[$__rate_interval])))"),
					promql("p99", "histogram_quantile(0.99, sum by (le) (rate(netview_dns_latency_seconds_bucket{$SENSOR}[$__rate_interval])))")),
				graph(8, "Lookups by result", "Calls of getaddrinfo per second (Prometheus, netview_dns_lookups_total); the other filters do not apply. EAI_AGAIN is a resolver that does not answer.", noneOrNoMetrics, perSecond, lookupEnds,
					promql("{{result}}", "sum by (result) (rate(netview_dns_lookups_total{$SENSOR}[$__rate_interval]))")).stacked())}},
			{"Who stands out", []line{row(9,
				table(14, "What fails", "Names without an answer or with an error, and lookups that failed, the most frequent 50 (ClickHouse, view dns_failures). One server in all rows is the one to look at.", "Nothing failed, or nothing is told of DNS.", names("dns_failures"), "ORDER BY failures DESC, sensor_id, kind, binary, name, query_type, failure", 50,
					gauge("failures", "Times", count).wide(90), state("failure", "Failure", join(dnsEnds, lookupEnds)).wide(115), nameColumn("name", "Name").wide(0), sensorColumn(), processColumn().wide(160), serversColumn(), word("query_type", "Type", 60).aside(), timeColumn("last_seen", "Last").aside()),
				table(10, "What is slow", "Names by the latency of their answers, of the 500 most frequent (ClickHouse, view dns_names). All of them slow is the resolver, one of them its zone.", noDNS, names("dns_names")+where("latency_p95_secs IS NOT NULL"), "ORDER BY latency_p95_secs DESC, queries DESC, sensor_id, binary, name, query_type", 50,
					gauge("latency_p95_secs", "95 %", seconds).wide(130), number("latency_p50_secs", "Median", seconds).wide(75), nameColumn("name", "Name").wide(0), sensorColumn(), processColumn().wide(160).aside(), number("queries", "Queries", count).wide(80).aside(), serversColumn().aside()))}},
			{"Rows", []line{
				row(10, table(24, "Names by process", "Which programs asked for which names, and how that went, the most frequent 200 (ClickHouse, view dns_names).", noDNS, names("dns_names"), "ORDER BY queries DESC, sensor_id, binary, name, query_type", 200,
					nameColumn("name", "Name").wide(0), sensorColumn(), processColumn().wide(230), word("query_type", "Type", 60), gauge("queries", "Queries", count).wide(140), number("failed", "Failed", count).judged(anyOdd).wide(80), number("unanswered", "No answer", count).judged(anyBad).wide(95), number("latency_p50_secs", "Median", seconds), number("latency_p95_secs", "95 %", seconds), serversColumn(), timeColumn("last_seen", "Last"))),
				row(10, table(24, "Queries", "The newest 200 queries on the wire (ClickHouse, view events_search). DNS over TLS shows its session alone, as encrypted.", noDNS, search("dns_query"), newest, 200,
					exactTimeColumn("timestamp", "Time"), sensorColumn(), nameColumn("name", "Name").wide(0), word("query_type", "Type", 60), state("outcome", "Outcome", dnsEnds).as(outcome).wide(105), number("latency_secs", "Latency", seconds), processColumn().wide(220), word("answer", "Answer", 200).as("arrayStringConcat(answers, ', ')"), serversColumn(), number("attempts", "Attempts", count).judged(levels("text", 2., orange)), word("transport", "Over", 60))),
				row(10, table(24, "Lookups", "The newest 200 calls of getaddrinfo (ClickHouse, view events_search). ok without a query on the wire came from a file or a cache.", noDNS, search("dns_lookup"), newest, 200,
					exactTimeColumn("timestamp", "Time"), sensorColumn(), nameColumn("name", "Name").wide(0), word("service", "Service", 80), state("result", "Result", lookupEnds).wide(115), number("latency_secs", "Latency", seconds), processColumn().wide(220), word("answer", "Addresses", 200).as("arrayStringConcat(answers, ', ')"), word("library", "Library", 190))),
				row(10, table(24, "Names as they were used", "Which name a process connected by, and how that is known, the newest 200 (ClickHouse, view events_search of dns_resolution). Age is the time since the answer; older than its TTL is a program that does not ask again.", noDNS, search("dns_resolution"), newest, 200,
					exactTimeColumn("timestamp", "Time"), sensorColumn(), nameColumn("name", "Name").wide(0), addressColumn("destination_address", "Address"), portColumn("destination_port", "Port"), processColumn().wide(230), word("name_source", "Known from", 110), number("age_secs", "Age", seconds), number("ttl_secs", "TTL", seconds), word("same_process", "Asked itself", 110).as("if(same_process, 'yes', 'no')"), number("others", "Other names", count).as("length(other_names)").wide(115)))}},
		}}
}

// dnsOutcomes are those that a graph has room for.
var dnsOutcomes = slices.DeleteFunc(slices.Clone(dnsEnds), func(s shown) bool { return s.value == "FORMERR" || s.value == "NOTIMP" || s.value == "unfinished" }).andOther()

const noDNS = "Nothing of DNS in this time range. It comes with eBPF, lookups with --dns.lookups; Health says which sensors run without, and why."
