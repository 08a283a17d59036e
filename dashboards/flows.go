package dashboards

func flowsView() view {
	filters := []string{byProcess, byAddress, byState}
	ended := eventsOf([]string{"network_flow"}, filters...)
	live := call("flows") + where("NOT stale", byProcess, byAddress, "("+picked("state")+" = '' OR state IN splitByChar(',', "+picked("state")+"))")
	address := func(column string) string {
		return "replaceRegexpOne(toString(" + column + "), '^::ffff:([0-9.]+)', '\\\\1')"
	}
	peer := "if(direction = 'inbound', events.source_address, events.destination_address)"
	itsEvents := leadTo("Its events", Events, with(inSensor, "kind", "network_flow", "kind", "network_connect", "process", of("binary"), "address", of("peer"), "port", of("destination_port"))...)
	return view{uid: Flows, title: "Flows", about: "TCP flows: those that live at the end of the time range, and those that ended in it, with bytes and how they ended.",
		variables: []*Variable{processVariable(), addressVariable(), choiceVariable("state", "State", "How flows ended, or live.", flowStates)},
		sections: []section{
			{"Now", []line{row(4,
				numbers(16, "Flows that ended", "In the time range, of the picked sensors and filters (ClickHouse, events of kind network_flow). Refused never were established; resets are those of either side.", noEvents, ended+"\nHAVING count() > 0",
					number("ended", "Ended", count).as("count()"), number("refused", "Refused", ratio).as("countIf(final_state = 'refused') / count()").judged(levels(green, .1, orange, .25, red)).to(leadTo("Failed connects", Events, "kind", "network_connect")),
					number("reset", "Reset", ratio).as("countIf(final_detail IN ('reset_by_peer', 'reset_locally')) / count()").judged(levels(green, .15, orange, .3, red)), number("half_closed", "Half-closed", count).as("countIf(final_state = 'half-closed')"),
					number("sent", "Sent", size).as("sum(events.bytes_sent)"), number("received", "Received", size).as("sum(events.bytes_received)"), number("typical", "Median length", seconds).as("quantile(0.5)(duration_secs)")),
				numbers(8, "Flows that live", "At the end of the time range, without stale sensors (ClickHouse, view flows).", noFlows, live+"\nHAVING count() > 0",
					number("alive", "Live", count).as("count()"), number("half_open", "Half-closed", count).as("countIf(state = 'half-closed')").judged(levels("text", 100., orange))))}},
			{"How it moved", []line{row(8,
				graph(8, "How flows ended", "Flows that ended in each interval, by their final state (ClickHouse). A wave of refused is a service that went away, or a scan.", noEvents, count, flowStates,
					perInterval("final_state", flowStates.values(), ended)).bars(),
				graph(8, "Traffic", "Payload of the TCP flows of the picked sensors, per second (Prometheus, netview_tcp_bytes_total); the other filters do not apply.", noMetrics, byteRate, named{{"sent", "", purple}, {"received", "", blue}},
					promql("{{direction}}", "sum by (direction) (rate(netview_tcp_bytes_total{$SENSOR}[$__rate_interval]))")),
				graph(8, "Retransmits", "Segments that were sent again, per second (Prometheus, netview_tcp_retransmits_total); the other filters do not apply. Rising with even traffic is loss on the way.", noMetrics, perSecond, named{{"retransmits", "", orange}},
					promql("retransmits", "sum(rate(netview_tcp_retransmits_total{$SENSOR}[$__rate_interval]))")))}},
			{"Who stands out", []line{row(9,
				table(12, "Top talkers", "Programs with their peers by bytes, of the flows that ended in the time range, the 50 with the most (ClickHouse, view top_talkers).", noEvents,
					call("top_talkers", "process", typed("process"), "address", validAddress, "final_state", picked("state"), "limit", "50")+where(addressValid), "ORDER BY bytes DESC, flows DESC, sensor_id, binary, direction, peer, destination_port", 50,
					gauge("bytes", "Bytes", size).wide(130), sensorColumn(), processColumn(), addressColumn("peer", "Peer").as("remote_address"), portColumn("destination_port", "Port"),
					state("direction", "Direction", directions).aside(), number("flows", "Flows", count).aside(), number("bytes_sent", "Sent", size).aside(), number("bytes_received", "Received", size).aside(), nameColumn("remote_name", "Name").aside()),
				table(12, "Refusals and resets", "Flows that were refused, reset or got no answer, by program and destination, the 50 most frequent (ClickHouse). Click the number for the events.", noEvents, eventsOf([]string{"network_flow"}, append([]string{"final_detail NOT IN ('fin', 'missed_close', 'evicted')"}, filters...)...),
					"GROUP BY sensor_id, binary, final_detail, peer, destination_port\nORDER BY flows DESC, sensor_id, binary, final_detail, peer, destination_port", 50,
					gauge("flows", "Flows", count).as("count()").wide(75).to(itsEvents), state("final_detail", "How", flowDetails).wide(110), sensorColumn(), processColumn(), addressColumn("peer", "Peer").as(address(peer)).wide(115), portColumn("destination_port", "Port"),
					timeColumn("last_seen", "Last").as("max(timestamp)").aside()))}},
			{"Rows", []line{
				row(10, table(24, "Live flows", "TCP flows of each sensor's newest complete heartbeat (ClickHouse, view flows), the 500 with the most bytes. An empty age is a flow older than the sensor.", noFlows, live, "ORDER BY ifNull(bytes_sent, 0) + ifNull(bytes_received, 0) DESC, sensor_id, session, sequence", 500,
					sensorColumn(), processColumn(), state("state", "State", flowStates), state("direction", "Direction", directions).wide(90), addressColumn("source_address", "From"), portColumn("source_port", "Port").wide(70), addressColumn("destination_address", "To"), portColumn("destination_port", "Port"), nameColumn("remote_name", "Name"),
					number("bytes_sent", "Sent", size), number("bytes_received", "Received", size), number("duration_secs", "Age", seconds).wide(85), resentColumn(), number("rtt_secs", "Round trip", seconds).wide(95).aside(), pidColumn().aside(), userColumn().aside(), containerColumn().aside())),
				row(12, table(24, "Completed flows", "The newest 500 of the flows that ended (ClickHouse, view completed_flows). Click the end of a refused one for its events.", noEvents, call("completed_flows")+where(filters...), "ORDER BY timestamp DESC, sensor_id, session, sequence", 500,
					exactTimeColumn("timestamp", "Ended"), sensorColumn(), processColumn(), state("final_state", "State", flowStates).to(leadTo("Its events", Events, with(inSensor, "kind", "network_flow", "kind", "network_connect", "process", of("binary"), "address", of("destination_address"), "port", of("destination_port"))...)), state("final_detail", "How", flowDetails).wide(115),
					addressColumn("source_address", "From").wide(120), portColumn("source_port", "Port").wide(70), addressColumn("destination_address", "To").wide(120), portColumn("destination_port", "Port"), nameColumn("remote_name", "Name").wide(155),
					number("duration_secs", "Length", seconds).wide(85), number("bytes_sent", "Sent", size).wide(85), number("bytes_received", "Received", size).wide(85), state("direction", "Direction", directions).aside(), number("rtt_secs", "Round trip", seconds).wide(95).aside(), resentColumn().aside(), pidColumn().aside(), userColumn().aside()))}},
		}}
}
