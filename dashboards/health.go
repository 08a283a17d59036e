package dashboards

func healthView() view {
	inMap := func(column string) string {
		return "(\n    SELECT sensor_id, host_name, stale, arrayJoin(mapKeys(" + column + ")) AS key, " + column + "[key] AS value\n    FROM " + call("newest_heartbeats") + "\n)"
	}
	return view{uid: Health, title: "Sensor health", about: "Whether the sensors see, keep and deliver: heartbeats, features, losses by cause, spool, CPU and memory, and the collector that takes their records.",
		sections: []section{
			{"Now", []line{row(4,
				numbers(14, "Sensors", "From each sensor's newest complete heartbeat at the end of the time range (ClickHouse, view summary). A sensor is stale after 90 s of silence, and leaves this picture after six minutes.", noSensor, call("summary")+"\nHAVING count() > 0",
					number("live_sensors", "Live", count).as("countIf(NOT stale)"), number("stale_sensors", "Stale", count).as("countIf(stale)").judged(anyBad), number("oldest", "Oldest heartbeat", seconds).as("max(age_secs)").judged(levels(green, 45., yellow, 90., red)),
					number("without", "Without eBPF", count).as("countIf(mode != 'ebpf')").judged(anyOdd), number("losing", "With losses", count).as("countIf(lost > 0)").judged(anyOdd), number("versions", "Versions", count).as("uniqExact(sensor_version)").judged(levels(green, 2., orange))),
				gauges(10, "Delivery", "Of the picked sensors, now (Prometheus). What waits was seen and has not arrived; the fullest spool says how much of its room is taken, beyond which the oldest records are lost; losses are of the last five minutes.", noMetrics,
					number("waiting", "Records waiting", count).as("sum(netview_spool_records{$SENSOR})").judged(levels(green, 10_000., orange)), number("spool", "Fullest spool", ratio).as("max(netview_spool_bytes{$SENSOR} / (netview_spool_limit_bytes{$SENSOR} > 0))").judged(levels(green, .5, orange, .8, red)).exact(0),
					number("losses", "Lost in 5 min", count).as("round(sum(increase(netview_losses_total{$SENSOR}[5m])))").judged(anyOdd), number("off", "Features off", count).as("sum(netview_feature_enabled{$SENSOR} == bool 0)")))}},
			{"How it moved", []line{
				row(9,
					graph(12, "Age of the heartbeat", "Time since the newest heartbeat that the collector acknowledged, of the ten oldest (Prometheus, recorded by the rules of alerts/, which remember a sensor that is gone). It saws up to the interval, 15 s; over the line, 90 s, a sensor is stale.", noRules, seconds, nil,
						promql("{{sensor_id}}", topTen("sensor_id:netview_heartbeat:age_seconds{$SENSOR}"))).many().warnedAt(90),
					graph(6, "Losses by cause", "What could not be read or delivered, per second (Prometheus, netview_losses_total). docs/metrics.md says for each cause what was lost and what to do.", "Nothing was lost, or Prometheus has no metrics of these sensors: let it scrape netview-sensor (port 9765).", perSecond, nil,
						promql("{{cause}}", "sum by (cause) (rate(netview_losses_total{$SENSOR}[$__rate_interval])) > 0")).stacked().upTo(1),
					graph(6, "Records waiting", "Those in the spools, by lane (Prometheus, netview_spool_records). They grow while the collector is away.", noMetrics, count, named{{"events", "", yellow}, {"snapshots", "", blue}},
						promql("{{lane}}", "sum by (lane) (netview_spool_records{$SENSOR})")).stacked().upTo(100)),
				row(8,
					graph(8, "CPU", "Cores that a sensor uses, of the ten that used the most (Prometheus, process_cpu_seconds_total).", noProcess, ratio, nil, promql("{{sensor_id}}", topTen("rate(process_cpu_seconds_total{$SENSOR}[$__rate_interval])"))).many(),
					graph(8, "Memory", "Resident memory of a sensor, of the ten that had the most (Prometheus, process_resident_memory_bytes).", noProcess, size, nil, promql("{{sensor_id}}", topTen("process_resident_memory_bytes{$SENSOR}"))).many(),
					graph(8, "Time of a heartbeat", "How long taking a snapshot took (Prometheus, netview_heartbeat_duration_seconds); which sensor is slow stands in the table below. Near the interval, heartbeats are skipped.", noMetrics, seconds, named{{"slowest", "", orange}, {"median", "", blue}},
						promql("slowest", "max(netview_heartbeat_duration_seconds{$SENSOR})"), promql("median", "quantile(0.5, netview_heartbeat_duration_seconds{$SENSOR})")))}},
			{"Limits of the hosts", []line{row(8,
				graph(8, "Ephemeral ports", "Largest part of a namespace's ephemeral ports that is taken, of the ten sensors with the most (Prometheus, netview_ephemeral_ports_used_ratio). Over the line connects begin to fail.", noLimits, ratio, nil, promql("{{sensor_id}}", topTen("netview_ephemeral_ports_used_ratio{$SENSOR}"))).many().warnedAt(.8),
				graph(8, "Connection tracking", "How full the conntrack table of the host is, of the ten fullest (Prometheus, netview_conntrack_entries). A full table drops packets.", "No host of these sensors tracks connections, or Prometheus does not scrape them (port 9765); generated ones do not.", ratio, nil, promql("{{sensor_id}}", topTen("netview_conntrack_entries{$SENSOR} / netview_conntrack_entries_limit{$SENSOR}"))).many().warnedAt(.8),
				graph(8, "Full accept queues, per minute", "Connections that a listener did not get, of the ten hosts with the most (Prometheus, netview_tcp_listen_drops_total). The program is too slow, or its backlog too small.", noLimits, count, nil, promql("{{sensor_id}}", topTen("60 * rate(netview_tcp_listen_drops_total{$SENSOR}[$__rate_interval])"))).many().upTo(1))}},
			{"Who stands out", []line{
				row(5, table(24, "Features that are off", "What a sensor cannot do, and why, with what may help (ClickHouse, features of the newest heartbeats).", "Every feature works, or no sensor was heard of.", inMap("features"), "WHERE startsWith(value, 'off')\nORDER BY key, sensor_id", 500,
					sensorColumn(), word("feature", "Feature", 150).as("key"), word("reason", "Why", 0).as("substring(value, 6)"))),
				row(6,
					table(8, "Losses by sensor", "Counted since the sensor's start, the most first (ClickHouse, losses of the newest heartbeats). The panel above says which still go on.", "Nothing was lost, or no sensor was heard of.", inMap("losses"), "WHERE value > 0\nORDER BY lost DESC, sensor_id, key", 500,
						sensorColumn(), word("cause", "Cause", 0).as("key"), gauge("lost", "Lost", count).as("value").wide(130)),
					table(10, "Starts and gaps", "What interrupted the record in the time range, newest first (ClickHouse, view disruptions). Gone records were numbered and will never come.", "No sensor started, and nothing is gone.", call("disruptions"), "ORDER BY timestamp DESC, sensor_id, what, detail", 200,
						timeColumn("timestamp", "Time"), sensorColumn(), state("what", "What", disruptions).wide(110), word("detail", "Detail", 0)),
					table(6, "Shared identities", "Sensors whose sessions overlap in the time range (ClickHouse, heartbeats): two machines with one sensor_id, most often clones. Give each its own --sensor-id.", "Every sensor has an identity of its own.", shared, "WHERE before > begun\nGROUP BY sensor_id\nORDER BY sensor_id", 100,
						sensorColumn(), word("hosts", "Hosts", 0).as("arrayStringConcat(arraySort(groupUniqArray(ifNull(host, ''))), ', ')")))}},
			{"Collectors", []line{row(7,
				graph(8, "Records", "What became of the records, per second, of every collector that Prometheus scrapes (recorded by the rules of alerts/). Other than stored was refused or set aside.", noCollector, perSecond, named{{"stored", "", green}, {"quarantined", "", orange}},
					promql("{{outcome}}", "sum by (outcome) (instance:netview_receiver_records:rate) > 0")).stacked(),
				graph(8, "Answers", "How requests were answered, per second (recorded by the rules of alerts/). overloaded and failed make sensors repeat: nothing is lost, but it waits in their spools.", noCollector, perSecond, named{{"ok", "", green}, {"overloaded", "", orange}, {"failed", "", red}, {"not_ready", "", yellow}},
					promql("{{answer}}", "sum by (answer) (instance:netview_receiver_requests:rate) > 0")).stacked(),
				graph(8, "Time of a commit", "How long ClickHouse takes to store a batch, 95 % of them, by collector (recorded by the rules of alerts/). Seconds here are a store that is too slow or too far.", noCollector, seconds, nil,
					promql("{{instance}}", "instance:netview_receiver_commit_duration_seconds:p95")))}},
			{"Rows", []line{row(12,
				table(24, "Sensors", "One row for each sensor (ClickHouse, view newest_heartbeats), stale ones first.", noSensor, call("newest_heartbeats"), "ORDER BY stale DESC, sensor_id", 1000,
					sensorColumn(), word("host_name", "Host", 0), staleColumn(), timeColumn("timestamp", "Heartbeat"), state("mode", "Mode", modes).wide(110), number("uptime_secs", "Up", seconds), number("interval_secs", "Interval", seconds).wide(80), number("collect_secs", "Took", seconds).wide(80), number("lost", "Lost", count).as("arraySum(mapValues(losses))").judged(anyOdd).wide(80),
					number("namespaces", "Namespaces", count).wide(110), number("time_wait", "TIME_WAIT", count).wide(100), word("sensor_version", "Version", 100), word("os_version", "Kernel", 150), word("host_arch", "Arch", 70)))}},
		}}
}

// shared are the sessions of the time range, each with when those before it ended.
var shared = "(\n    SELECT sensor_id, session, any(host_name) AS host, min(timestamp) AS begun, max(timestamp) AS ended," +
	"\n        max(ended) OVER (PARTITION BY sensor_id ORDER BY begun, session ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before" +
	"\n    FROM " + database + ".heartbeats\n    WHERE $__timeFilter_ms(timestamp) AND " + bySensor + "\n    GROUP BY sensor_id, session\n)"

const (
	noProcess   = "None of these sensors has a process that Prometheus scrapes (port 9765); generated ones have none."
	noLimits    = "None of these sensors tells the limits of its host, or Prometheus does not scrape them (port 9765); generated ones do not."
	noRules     = "Nothing is recorded of these sensors: let Prometheus evaluate the rules of alerts/rules, see docs/alerts.md."
	noCollector = "Nothing is recorded of a collector: let Prometheus scrape its port 8888 and evaluate the rules of alerts/rules, see docs/alerts.md."
)
