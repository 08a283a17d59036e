package dashboards

// The page that was asked for, brought into what the view takes.
var (
	page     = within("page", 1, 1_000_000_000, 1)
	pageSize = within("page_size", 1, 500, 100)
)

// snapshot is the rows of a table in each sensor's newest complete heartbeat, but
// for stale sensors: for counts over more rows than a page of a view has.
func snapshot(table, columns string) string {
	return "(\n    SELECT " + columns + " FROM " + database + "." + table + "\n    WHERE (sensor_id, timestamp, session, heartbeat) IN" +
		"\n        (SELECT sensor_id, timestamp, session, heartbeat FROM " + call("newest_heartbeats") + " WHERE NOT stale)\n    LIMIT 1 BY session, sequence\n)"
}

// served is the port of a connection that its server has.
const served = "if(direction = 'inbound', local_port, remote_port)"

const noSensor = "No heartbeat of these sensors in the six minutes before. Start netview-sensor with --otlp.endpoint, or pick another time or sensor."

func connectionsView() view {
	turn := func(name, title, sql string) field {
		return number(name, title, plain).as(sql).judged(linked).to(leadTo("Go to this page", Connections, "page", "${__value.raw}"))
	}
	pager := call("connections_pager", "page", page, "page_size", pageSize)
	busiest := func(title, about, column string, leads field) *Panel {
		return table(8, title, about, noSensor, snapshot("snapshot_connections", column), "GROUP BY name\nORDER BY connections DESC, name", 12,
			leads, gauge("connections", "Connections", count).as("count()"))
	}
	shown := func(column string) string {
		return "replaceRegexpOne(toString(" + column + "), '^::ffff:([0-9.]+)', '\\\\1')"
	}
	return view{uid: Connections, title: "Connections", about: "All active TCP connections of the fleet at the end of the time range, by page, with the live flows beside them.",
		variables: []*Variable{textVariable("page", "Page", "1", "Which page, from 1; past the end it is the last."), textVariable("page_size", "Rows per page", "100", "1 to 500.")},
		sections: []section{
			{"Now", []line{row(4,
				numbers(12, "Connections", "From each sensor's newest complete heartbeat at the end of the time range (ClickHouse). Stale rows are of sensors that were silent for more than 90 s and are counted apart; any of them means that part of the picture is old.",
					noSensor, pager,
					number("total", "Active", count), number("stale_total", "Of stale sensors", count).judged(anyOdd).to(leadTo("Health", Health))),
				numbers(12, "Page", "Where the table below is. Click Previous or Next to turn the page; pages are of one moment, so fix the time range to read a long list without rows moving.",
					noSensor, pager,
					turn("previous_page", "‹ Previous", "greatest(1, toInt64(current_page) - 1)"), number("page_now", "Page", plain).as("current_page"), number("page_count", "Of", plain),
					turn("next_page", "Next ›", "greatest(1, least(page_count, current_page + 1))"), number("page_rows", "Rows per page", plain).as("page_size")))}},
			{"How it moved", []line{row(8,
				graph(12, "By state", "Connections of all picked sensors by TCP state (Prometheus, netview_connections). A growing close_wait is a program that does not close; many syn_sent are peers that do not answer.", noMetrics, count, tcpStates,
					promql("{{state}}", "sum by (state) (netview_connections{$SENSOR}) > 0")).stacked(),
				graph(12, "By direction", "Who opened them (Prometheus, netview_connections). Unknown are those whose beginning nobody saw and for which nothing listens.", noMetrics, count, directions,
					promql("{{direction}}", "sum by (direction) (netview_connections{$SENSOR})")))}},
			{"Who stands out", []line{row(9,
				busiest("Busiest processes", "Programs with the most connections now, without stale sensors (ClickHouse). One that was not here yesterday is worth a look.", "binary",
					word("name", "Process", 0).as("ifNull(binary, 'no process')").to(leadTo("Events of this process", Events, "process", of("name")))),
				busiest("Busiest peers", "Remote addresses with the most connections now, without stale sensors (ClickHouse). A single peer with most of them is a proxy, or a storm.", "remote_address",
					word("name", "Peer", 0).as(shown("remote_address")).to(leadTo("Flows with this address", Flows, "address", of("name")))),
				busiest("Busiest services", "The ports that are connected to: the local one of inbound connections, the remote one of others (ClickHouse).", served+" AS port",
					field{name: "name", title: "Port", unit: plain, colors: ports, cell: "color-text"}.as("toString(port)").to(leadTo("Events of this port", Events, "port", of("name")))))}},
			{"Rows", []line{row(18,
				table(15, "Active connections", "One page of all TCP connections but LISTEN, TIME_WAIT and CLOSE, with the process that has the socket (ClickHouse, view connections). Port is the one that was connected to. An empty age is a connection older than the sensor.",
					noSensor, call("connections", "page", page, "page_size", pageSize), "ORDER BY sensor_id, session, sequence", 500,
					sensorColumn(), programColumn(), state("state", "State", tcpStates), state("direction", "Direction", directions).wide(82), addressColumn("remote_address", "Peer").wide(115), portColumn("port", "Port").as(served).wide(110),
					nameColumn("remote_name", "Name").wide(140), number("duration_secs", "Age", seconds).wide(85), staleColumn().wide(55),
					addressColumn("local_address", "Local address").aside(), portColumn("local_port", "Local port").aside(), portColumn("remote_port", "Remote port").aside(), number("rtt_secs", "Round trip", seconds).wide(95).aside(), resentColumn().aside(),
					word("host_name", "Host", 150).aside(), pidColumn().aside(), word("binary", "Path", 220).aside(), userColumn().aside(), containerColumn().aside()),
				table(9, "Active flows", "The TCP flows that live, of the same moment, those with the most bytes first, at most 200, without stale sensors (ClickHouse, view flows). half-closed for long is a peer that forgot to close. Flows has them with filters.",
					noFlows, call("flows")+where("NOT stale"), "ORDER BY bytes DESC, sensor_id, session, sequence", 200,
					number("bytes", "Bytes", size).wide(75).as("ifNull(bytes_sent, 0) + ifNull(bytes_received, 0)"), sensorColumn(), programColumn(), addressColumn("peer", "Peer").wide(110).as("if(direction = 'inbound', source_address, destination_address)"), portColumn("destination_port", "Port").wide(110),
					state("state", "State", flowStates).aside(), state("direction", "Direction", directions).aside(), nameColumn("remote_name", "Name").aside(), number("bytes_sent", "Sent", size).aside(), number("bytes_received", "Received", size).aside(),
					number("duration_secs", "Age", seconds).aside(), number("rtt_secs", "Round trip", seconds).wide(95).aside()))}},
		}}
}

const (
	noMetrics       = "No metrics of these sensors: let Prometheus scrape netview-sensor (port 9765), see docs/metrics.md."
	noneOrNoMetrics = "Nothing happened, or Prometheus has no metrics of these sensors: let it scrape netview-sensor (port 9765), see docs/metrics.md."
	noEvents        = "No such events in this time range. They come with eBPF; Health says which sensors run without, and why."
	noFlows         = "No live flows: they come with eBPF. Health says which sensors run without, and why."
)
