package dashboards

// counted says how many sockets there are, of how many.
func counted(listeners, most string) string {
	return "multiIf(" + most + " = 0, 'missing', " + listeners + " = " + most + ", concat(toString(" + most + "), ' present'), concat(toString(" + listeners + "), ' of ', toString(" + most + ")))"
}

// telecomStat is one of the fixed ports of telecom services, of all sensors together.
func telecomStat(port, title string) field {
	of := ", local_port = " + port + ")"
	return state("port_"+port, title, presence).as(counted("sumIf(ifNull(listeners, 0)"+of, "sumIf(most"+of)).to(leadTo("Events of this port", Events, "port", port))
}

func listeningView() view {
	return view{uid: Listening, title: "Listening Services", about: "What listens on TCP and UDP at the end of the time range, and whether the telecom ports are served.",
		sections: []section{
			{"Now", []line{row(4,
				numbers(10, "Listeners", "From each sensor's newest complete heartbeat, without stale sensors (ClickHouse). Ephemeral ports of UDP are most often clients.", noSensor, call("newest_heartbeats")+"\nHAVING count() > 0",
					number("tcp", "TCP", count).as("sumIf(tcp_listeners, NOT stale)"), number("udp", "UDP", count).as("sumIf(udp_listeners, NOT stale)"), number("live", "Sensors", count).as("countIf(NOT stale)"),
					number("silent", "Stale", count).as("countIf(stale)").judged(anyOdd).to(leadTo("Health", Health))),
				numbers(14, "Telecom ports (UDP)", "How many sockets of the picked sensors listen on each fixed port, of the most that there were in the time range (ClickHouse, view telecom_by_sensor): 1 of 2 has lost one, missing was not there at any time.", noSensor, call("telecom_by_sensor"),
					telecomStat("2152", "GTP-U 2152"), telecomStat("8805", "PFCP 8805"), telecomStat("1812", "RADIUS 1812"), telecomStat("1813", "RADIUS acct. 1813"), telecomStat("9899", "SCTP/UDP 9899")).texts())}},
			{"How it moved", []line{row(8,
				graph(8, "Listeners", "Listening sockets of the picked sensors by transport (Prometheus, netview_listeners).", noMetrics, count, named{{"tcp", "TCP", blue}, {"udp", "UDP", purple}},
					promql("{{transport}}", "sum by (transport) (netview_listeners{$SENSOR})")),
				graph(8, "Came and went per minute", "Listeners that appeared and vanished, without ephemeral ports (Prometheus, netview_listeners_appeared_total). Steady turnover is a service that restarts in a loop.", noMetrics, count, named{{"appeared", "", green}, {"vanished", "", orange}},
					promql("appeared", "60 * sum(rate(netview_listeners_appeared_total{$SENSOR}[$__rate_interval]))"), promql("vanished", "60 * sum(rate(netview_listeners_vanished_total{$SENSOR}[$__rate_interval]))")).upTo(1),
				graph(8, "Telecom listeners", "Sockets on each telecom port that there was one on, above each other (Prometheus, netview_telecom_listeners). A step down is a service that was lost.", "None of these sensors serves a telecom port, or Prometheus does not scrape them (port 9765).", count, telecomNames,
					promql("{{service}}", "sum by (service) (netview_telecom_listeners{$SENSOR}) and sum by (service) (max_over_time(netview_telecom_listeners{$SENSOR}[$__range] @ end())) > 0")).stacked())}},
			{"Who stands out", []line{row(9,
				table(8, "Telecom ports by sensor", "Who serves a telecom port now, of the most sockets that it had in the time range, those with fewer first (ClickHouse, view telecom_by_sensor). Silent sensors are not heard of any more.", "No telecom port was served in this time range.", call("telecom_by_sensor"), "ORDER BY ifNull(listeners = most, false), listeners, local_port, sensor_id", 500,
					sensorColumn().wide(0), state("local_port", "Port", ports).wide(130).to(leadTo("Events of this port", Events, with(inSensor, "port", of("local_port"))...)), state("sockets", "Sockets", presence).as("if(stale, 'silent', "+counted("listeners", "most")+")").wide(95)),
				table(9, "Services of few hosts", "Programs and ports that the fewest sensors have (ClickHouse, view listeners). In a fleet of equal hosts what only one has is a mistake, a test, or an intruder.", noSensor, call("listeners"),
					"WHERE NOT stale\nGROUP BY local_port, binary\nORDER BY hosts, example, local_port, binary", 50,
					portColumn("local_port", "Port"), word("binary", "Process", 0).to(leadTo("Events of this process", Events, "process", of("binary"))), number("hosts", "Sensors", count).as("uniqExact(sensor_id)").wide(75), word("example", "Such as", 172).as("min(sensor_id)").to(leadTo("Summary of this sensor", Summary, "sensor", of("example")))),
				table(7, "Reachable from anywhere", "TCP ports bound to every address of the host, by how many sockets (ClickHouse, view listeners). Databases and debug ports do not belong here.", noSensor, call("listeners"),
					"WHERE NOT stale AND local_address IN ('0.0.0.0', '::')\nGROUP BY local_port, binary\nORDER BY sockets DESC, local_port, binary", 50,
					portColumn("local_port", "Port"), word("binary", "Process", 0).to(leadTo("Events of this process", Events, "process", of("binary"))), gauge("sockets", "Sockets", count).as("count()").wide(110)))}},
			{"TCP", []line{row(14, table(24, "TCP listeners", "Every socket in LISTEN, with its process (ClickHouse, view listeners). No process: it ended, or its sensor may not read it.", noSensor, call("listeners"), "ORDER BY local_port, sensor_id, session, sequence", 1000,
				listenerColumns()...))}},
			{"UDP", []line{row(14, table(24, "UDP listeners", "Bound and unconnected UDP sockets (ClickHouse, view udp_listeners), telecom services first, ephemeral ports last. GTP-U of the kernel has no process.", noSensor, call("udp_listeners"), "ORDER BY service IS NULL, ephemeral, local_port, sensor_id, session, sequence", 1000,
				append(listenerColumns(), state("service", "Telecom", telecomNames).wide(150), state("ephemeral", "Chosen by", named{{"0", "program", ""}, {"1", "kernel", grey}}).as("toUInt8(ephemeral)"))...))}},
		}}
}

func listenerColumns() []field {
	return []field{sensorColumn(), staleColumn(), portColumn("local_port", "Port"), addressColumn("local_address", "Address"), processColumn(), word("process_name", "Name", 125), pidColumn(), userColumn().wide(125),
		containerColumn(), word("family", "Family", 65), word("netns", "Namespace", 105)}
}
