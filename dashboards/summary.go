package dashboards

// firing are the alerts of the picked sensors; for all, those of collectors, too.
const firing = `ALERTS{alertname=~"Netview.*", alertstate="firing", $SENSOR}`

func summaryView() view {
	quiet := with(inSensor)
	bySensorLabel := []lead{leadTo("Summary of this sensor", Summary, "sensor", "${__field.labels.sensor_id:percentencode}"), leadTo("Connections of this sensor", Connections, "sensor", "${__field.labels.sensor_id:percentencode}"), leadTo("Health of this sensor", Health, "sensor", "${__field.labels.sensor_id:percentencode}")}
	return view{uid: Summary, title: "Summary", about: "The fleet at a glance: how much, how it moved, and which sensors stand out.",
		sections: []section{
			{"Now", []line{row(4,
				numbers(16, "The fleet", "From each sensor's newest complete heartbeat at the end of the time range, without stale sensors; events and failed connects are of the five minutes before (ClickHouse, view summary). Any stale sensor is one whose part of the picture is old.",
					noSensor, call("summary")+"\nHAVING count() > 0",
					number("live_sensors", "Sensors", count).as("countIf(NOT stale)").to(leadTo("Health", Health)), number("stale_sensors", "Stale", count).as("countIf(stale)").judged(anyBad).to(leadTo("Health", Health)),
					number("active", "Connections", count).as("sumIf(connections, NOT stale)").to(leadTo("Connections", Connections)), number("tcp", "TCP listeners", count).as("sumIf(tcp_listeners, NOT stale)").to(leadTo("Listening Services", Listening)),
					number("udp", "UDP listeners", count).as("sumIf(udp_listeners, NOT stale)").to(leadTo("Listening Services", Listening)), number("live_flows", "Live flows", count).as("sumIf(ifNull(flows, 0), NOT stale)").to(leadTo("Flows", Flows)),
					number("event_rate", "Events", perSecond).as("sum(events_per_second)").exact(1).to(leadTo("Events", Events)), number("failed", "Failed connects", count).as("sum(failed_connects)").to(leadTo("Failed connects", Events, "kind", "network_connect"))),
				ranking(8, "Alerts that fire", "How many fire of each of netview's alerts, now (Prometheus). alerts/runbook.md says what to look at first.", "No alert fires, or Prometheus does not evaluate the rules of alerts/rules.", count, []lead{leadTo("Health", Health), leadTo("Events", Events), leadTo("DNS", DNS)},
					instant("{{alertname}}", "sort_desc(count by (alertname) ("+firing+"))")).judged(levels(orange)))}},
			{"How it moved", []line{row(9,
				graph(12, "Connections by state", "Of all picked sensors (Prometheus, netview_connections). Growing close_wait or syn_sent is a fault; a step is a storm or a loss.", noMetrics, count, tcpStates,
					promql("{{state}}", "sum by (state) (netview_connections{$SENSOR}) > 0")).stacked(),
				graph(12, "Connections of ten sensors", "Those that had the most at some time of the range; the others are left out (Prometheus, netview_connections). One line that leaves the others stands out.", noMetrics, count, nil,
					promql("{{sensor_id}}", topTen("sum by (sensor_id) (netview_connections{$SENSOR})"))).many()),
				row(7,
					graph(8, "Events", "Events per second by kind (Prometheus, netview_events_total). None at all: the sensors run without eBPF.", noneOrNoMetrics, perSecond, kinds,
						promql("{{kind}}", "sum by (kind) (rate(netview_events_total{$SENSOR}[$__rate_interval])) > 0")).stacked(),
					graph(8, "Traffic", "Payload of TCP flows, sent and received, per second (Prometheus, netview_tcp_bytes_total), as of the heartbeats.", noMetrics, byteRate, named{{"sent", "", purple}, {"received", "", blue}},
						promql("{{direction}}", "sum by (direction) (rate(netview_tcp_bytes_total{$SENSOR}[$__rate_interval]))")),
					graph(8, "Failed connects", "Attempts that did not succeed, by result, in each interval (ClickHouse, events of kind network_connect). refused is a service that is down, timed out a peer or a firewall that does not answer.", noEvents, count, connectFailures,
						perInterval("result", connectFailures.values(), eventsOf([]string{"network_connect"}, "result != 'ok'"))).bars())}},
			{"Who stands out", []line{row(9,
				ranking(6, "From their own history", "Standard deviations between a sensor's connections now and what they were in the hour before, which ends 15 minutes ago (Prometheus, recorded by the rules of alerts/). Above 3 is unusual.", "Nothing is recorded of these sensors, or for less than 45 minutes: let Prometheus evaluate the rules of alerts/rules, see docs/alerts.md.", plain, bySensorLabel,
					instant("{{sensor_id}}", "sort_desc(topk(8, abs(sensor_id:netview_connections:own_score{$SENSOR})))")).outlierFrom(3),
				ranking(6, "From the fleet", "How far a sensor's connections are from the median of the fleet: 0.6745 times the distance, in median distances (Prometheus, recorded by the rules of alerts/). Above 3.5 is an outlier; it takes five sensors.", noRules, plain, bySensorLabel,
					instant("{{sensor_id}}", "sort_desc(topk(8, abs(sensor_id:netview_connections:fleet_score{$SENSOR})))")).outlierFrom(3.5),
				table(12, "Connects that fail", "Programs and destinations with the most failed attempts in the time range (ClickHouse, view failed_connects). Click the number for the attempts.", noEvents, call("failed_connects", "limit", "20"), "ORDER BY attempts DESC, sensor_id, binary, destination_address, destination_port, result", 20,
					gauge("attempts", "Attempts", count).wide(95).to(leadTo("These attempts", Events, with(inSensor, "kind", "network_connect", "process", of("binary"), "address", of("destination_address"), "port", of("destination_port"))...)),
					state("result", "Result", connectEnds).wide(100), sensorColumn(), processColumn(), addressColumn("destination_address", "To"), portColumn("destination_port", "Port").wide(110), nameColumn("remote_name", "Name").aside())),
				row(9, table(24, "Top talkers", "Programs with their peers by the bytes of flows that ended in the time range (ClickHouse, view top_talkers). An unknown peer with much sent is worth a look.", noEvents, call("top_talkers", "process", "''", "address", "''", "final_state", "''", "limit", "20"), "ORDER BY bytes DESC, flows DESC, sensor_id, binary, direction, remote_address, destination_port", 20,
					gauge("bytes", "Bytes", size).wide(180), sensorColumn(), processColumn(), state("direction", "Direction", directions), addressColumn("remote_address", "Peer"), portColumn("destination_port", "Port"), nameColumn("remote_name", "Name").wide(220),
					number("bytes_sent", "Sent", size), number("bytes_received", "Received", size), number("flows", "Flows", count), number("refused", "Refused", count).judged(tooMany)))}},
			{"Rows", []line{row(12, table(24, "Sensors", "One row for each sensor at the end of the time range (ClickHouse, view summary), stale ones first: the age of its heartbeat, its listeners, the flows that ended and the connects that failed in five minutes. Lost counts since the sensor's start, by any cause; Health tells which.", noSensor, call("summary"), "ORDER BY stale DESC, connections DESC, sensor_id", 1000,
				sensorColumn(), word("host_name", "Host", 0), staleColumn(), number("age_secs", "Heartbeat", seconds).judged(levels("text", 45., yellow, 90., red)), number("connections", "Connections", count).wide(110).to(leadTo("Connections of this sensor", Connections, quiet...)),
				number("tcp_listeners", "TCP", count).wide(70).to(leadTo("Listeners of this sensor", Listening, quiet...)), number("udp_listeners", "UDP", count).wide(70).to(leadTo("Listeners of this sensor", Listening, quiet...)), number("flows", "Flows", count).wide(75).to(leadTo("Flows of this sensor", Flows, quiet...)),
				number("events_per_second", "Events", perSecond).exact(1).to(leadTo("Events of this sensor", Events, quiet...)), number("completed_flows", "Ended", count).wide(75), number("failed_connects", "Failed", count).judged(tooMany).wide(75).to(leadTo("Failed connects of this sensor", Events, with(inSensor, "kind", "network_connect")...)),
				number("lost", "Lost", count).judged(anyOdd).wide(75).to(leadTo("Health of this sensor", Health, quiet...)), state("mode", "Mode", modes).wide(110), number("uptime_secs", "Up", seconds), word("sensor_version", "Version", 100)))}},
		}}
}
