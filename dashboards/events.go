package dashboards

func eventsView() view {
	filters := []string{byKind, byProcess, byAddress, byPort, byName}
	events := eventsOf(nil, filters...)
	failed := "(kind = 'network_connect' AND result != 'ok' OR kind = 'network_flow' AND final_detail NOT IN ('fin', 'missed_close', 'evicted') OR kind = 'dns_query' AND (result = 'no_answer' OR rcode != 'NOERROR') OR kind = 'dns_lookup' AND result != 'ok')"
	return view{uid: Events, title: "Events (Investigate)", about: "Any event of the sensors in a window of time, newest first, by kind, process, address, port and name.",
		variables: []*Variable{choiceVariable("kind", "Kind", "Kinds of events.", kinds), processVariable(), addressVariable(),
			textVariable("port", "Port", "", "A port of either end. Empty or 0 for any; what is no port finds nothing."), nameVariable()},
		sections: []section{
			{"Now", []line{row(4, numbers(24, "What was found", "All events of the time range that the filters leave, not only those in the table below (ClickHouse, events). Failed are attempts, flows, queries and lookups that did not go well.", noEvents, events+"\nHAVING count() > 0",
				number("found", "Events", count).as("count()"), number("failures", "Failed", ratio).as("countIf("+failed+") / count()").judged(levels(green, .1, orange, .5, red)), number("from_sensors", "Sensors", count).as("uniq(sensor_id)"), number("programs", "Programs", count).as("uniq(binary)"),
				number("peers", "Destinations", count).as("uniq(events.destination_address)"), number("domains", "Names", count).as("uniq(ifNull(remote_name, name))")))}},
			{"How it moved", []line{row(8, graph(24, "Events by kind", "Events in each interval (ClickHouse, events). A burst of connects to many ports is a scan; a hole is a sensor that was off.", noEvents, count, kinds,
				perInterval("kind", kinds.values(), events)).bars())}},
			{"Who stands out", []line{row(8,
				table(8, "Programs", "Those with the most events (ClickHouse, events). Click one to look at it alone.", noEvents, events, "GROUP BY binary\nORDER BY found DESC, binary", 20,
					word("binary", "Process", 0).to(leadTo("This process alone", Events, "process", of("binary")), leadTo("Flows of this process", Flows, "process", of("binary"))), gauge("found", "Events", count).as("count()"), number("failures", "Failed", count).as("countIf("+failed+")").judged(anyOdd)),
				table(8, "Destinations", "Addresses with the most events (ClickHouse, events).", noEvents, events+"\n    AND destination_address IS NOT NULL", "GROUP BY events.destination_address\nORDER BY found DESC, destination", 20,
					word("destination", "Address", 0).as("replaceRegexpOne(toString(events.destination_address), '^::ffff:([0-9.]+)', '\\\\1')").to(leadTo("This address alone", Events, "address", of("destination")), leadTo("Flows with this address", Flows, "address", of("destination"))), gauge("found", "Events", count).as("count()"), number("destination_ports", "Ports", count).as("uniq(destination_port)").judged(levels("text", 100., red))),
				table(8, "Sensors", "Those with the most events (ClickHouse, events).", noEvents, events, "GROUP BY sensor_id\nORDER BY found DESC, sensor_id", 20,
					sensorColumn().wide(0), gauge("found", "Events", count).as("count()"), number("failures", "Failed", count).as("countIf("+failed+")").judged(anyOdd)))}},
			{"Rows", []line{row(20, table(24, "Events", "The newest 500 (ClickHouse, view events_search). Result is that of the attempt, the answer or the end; narrow the time to see older ones.", noEvents,
				call("events_search", "kind", picked("kind"), "process", typed("process"), "address", validAddress, "port", validPort, "name", typed("name"), "limit", "500")+where(addressValid, portValid), "ORDER BY timestamp DESC, sensor_id, session, sequence DESC", 500,
				exactTimeColumn("timestamp", "Time"), sensorColumn(), state("kind", "Kind", kinds), state("outcome", "Result", results).as("coalesce(if(kind = 'dns_query' AND result = 'answered', rcode, result), final_detail)").wide(110), processColumn(), pidColumn(),
				addressColumn("source_address", "From"), portColumn("source_port", "Port").wide(70), addressColumn("destination_address", "To"), portColumn("destination_port", "Port"), nameColumn("known_name", "Name").as("coalesce(name, remote_name)"), number("took", "Took", seconds).as("coalesce(duration_secs, latency_secs)"),
				number("bytes_sent", "Sent", size).aside(), number("bytes_received", "Received", size).aside(), state("direction", "Direction", directions).aside(), word("query_type", "Type", 60).aside(), word("answer", "Answers", 180).as("arrayStringConcat(answers, ', ')").aside(), userColumn().aside(), containerColumn().aside(), word("command_line", "Command line", 250).aside(), word("connection_id", "Connection", 120).aside()))}},
		}}
}
