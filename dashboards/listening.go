package dashboards

// telecomStat is one of the ports of telecom services: how many listen there.
func telecomStat(port, title string) field {
	f := number("port_"+port, title, "suffix: present").as("sumIf(listeners, local_port = " + port + ")").judged(levels(orange, 1., green)).to(leadTo("Events of this port", Events, "port", port))
	f.colors = named{{"0", "missing", orange}}
	return f
}

func listeningView() view {
	return view{uid: Listening, title: "Listening Services", about: "What listens on TCP and UDP at the end of the time range, and whether the telecom ports are served.",
		sections: []section{
			{"Now", []line{row(4,
				numbers(10, "Listeners", "From each sensor's newest complete heartbeat, without stale sensors (ClickHouse). Ephemeral ports of UDP are most often clients.", noSensor, call("newest_heartbeats")+"\nHAVING count() > 0",
					number("tcp", "TCP", count).as("sumIf(tcp_listeners, NOT stale)"), number("udp", "UDP", count).as("sumIf(udp_listeners, NOT stale)"), number("live", "Sensors", count).as("countIf(NOT stale)"),
					number("silent", "Stale", count).as("countIf(stale)").judged(anyOdd).to(leadTo("Health", Health))),
				numbers(14, "Telecom ports (UDP)", "How many sockets of the picked sensors listen on each fixed port (ClickHouse, view telecom_ports). Missing is bad on a host that has the role: pick its sensor.", noSensor, call("telecom_ports"),
					telecomStat("2152", "GTP-U 2152"), telecomStat("8805", "PFCP 8805"), telecomStat("1812", "RADIUS 1812"), telecomStat("1813", "RADIUS accounting 1813"), telecomStat("9899", "SCTP over UDP 9899")))}},
			{"How it moved", []line{row(8,
				graph(8, "Listeners", "Listening sockets of the picked sensors by transport (Prometheus, netview_listeners).", noMetrics, count, named{{"tcp", "TCP", blue}, {"udp", "UDP", purple}},
					promql("{{transport}}", "sum by (transport) (netview_listeners{$SENSOR})")),
				graph(8, "Came and went", "Listeners that appeared and vanished per minute, without ephemeral ports (Prometheus). Steady turnover is a service that restarts in a loop.", noMetrics, "cpm", named{{"appeared", "", green}, {"vanished", "", orange}},
					promql("appeared", "60 * sum(rate(netview_listeners_appeared_total{$SENSOR}[$__rate_interval]))"), promql("vanished", "60 * sum(rate(netview_listeners_vanished_total{$SENSOR}[$__rate_interval]))")),
				graph(8, "Telecom listeners", "Sockets on each telecom port (Prometheus, netview_telecom_listeners). A step down is a service that was lost.", noMetrics, count, telecomNames,
					promql("{{service}}", "sum by (service) (netview_telecom_listeners{$SENSOR}) > 0")))}},
			{"Who stands out", []line{row(8,
				table(8, "Telecom ports by sensor", "Where each telecom port is served (ClickHouse, view telecom_ports). Missing where nothing of the picked sensors listens.", noSensor, call("telecom_ports"), "ORDER BY local_port", 5,
					word("local_port", "Port", 60), state("service", "Service", telecomNames).wide(135), field{name: "presence", title: "Presence", unit: plain, width: 75, colors: named{{"present", "", green}, {"missing", "", orange}}, cell: "color-text"}.as("if(listeners > 0, 'present', 'missing')"),
					number("listeners", "Sockets", count).wide(65), word("on_sensors", "Sensors", 0).as("arrayStringConcat(sensors, ', ')")),
				table(8, "Services of few hosts", "Programs and ports that the fewest sensors have (ClickHouse, view listeners). In a fleet of equal hosts what only one has is a mistake, a test, or an intruder.", noSensor, call("listeners"),
					"WHERE NOT stale\nGROUP BY local_port, binary\nORDER BY hosts, example, local_port, binary", 50,
					portColumn("local_port", "Port"), word("binary", "Process", 170).to(leadTo("Events of this process", Events, "process", of("binary"))), number("hosts", "Sensors", count).as("uniqExact(sensor_id)").wide(70), word("example", "Such as", 140).as("min(sensor_id)").to(leadTo("Summary of this sensor", Summary, "sensor", of("example")))),
				table(8, "Reachable from anywhere", "TCP ports bound to every address of the host, by how many sockets (ClickHouse, view listeners). Databases and debug ports do not belong here.", noSensor, call("listeners"),
					"WHERE NOT stale AND local_address IN ('0.0.0.0', '::')\nGROUP BY local_port, binary\nORDER BY sockets DESC, local_port, binary", 50,
					portColumn("local_port", "Port"), word("binary", "Process", 220).to(leadTo("Events of this process", Events, "process", of("binary"))), gauge("sockets", "Sockets", count).as("count()")))}},
			{"TCP", []line{row(14, table(24, "TCP listeners", "Every socket in LISTEN, with its process (ClickHouse, view listeners). No process: it ended, or its sensor may not read it.", noSensor, call("listeners"), "ORDER BY local_port, sensor_id, session, sequence", 1000,
				listenerColumns()...))}},
			{"UDP", []line{row(14, table(24, "UDP listeners", "Bound and unconnected UDP sockets (ClickHouse, view udp_listeners), telecom services first, ephemeral ports last. GTP-U of the kernel has no process.", noSensor, call("udp_listeners"), "ORDER BY service IS NULL, ephemeral, local_port, sensor_id, session, sequence", 1000,
				append(listenerColumns(), state("service", "Service", telecomNames).wide(135), state("ephemeral", "Ephemeral", named{{"0", "", grey}, {"1", "ephemeral", grey}}).as("toUInt8(ephemeral)"))...))}},
		}}
}

func listenerColumns() []field {
	return []field{sensorColumn(), staleColumn(), portColumn("local_port", "Port"), addressColumn("local_address", "Address"), processColumn().wide(270), pidColumn(), userColumn(),
		word("process_name", "Name", 130), containerColumn(), word("family", "Family", 70), word("netns", "Namespace", 110)}
}
