package clickhouse

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	chgo "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// TestViewsAnswerOnce asks every view before and after every row has come a second
// time, in a part of its own.
func TestViewsAnswerOnce(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	g := generate(t, ch, 8, 10, 4, 6)
	before := map[string][]string{}
	for _, view := range Views() {
		rows, err := g.rows(g.call(view.Name))
		if err != nil {
			t.Fatalf("%s: %v", view.Name, err)
		}
		if len(rows) == 0 && view.Name != "shared_identities" { // no sensor of this fleet was cloned
			t.Errorf("%s has nothing to show of a fleet", view.Name)
		}
		before[view.Name] = rows
	}
	g.insert(1, 6)
	for _, table := range []string{"events", "heartbeats", "snapshot_connections", "snapshot_listeners", "snapshot_flows"} {
		if twice := texts(t, g.reader, "SELECT toString(count() >= 2 * uniqExact(session, sequence)) FROM netview."+table); twice[0] != "1" {
			t.Fatalf("rows of %s are not there twice", table)
		}
	}
	for view, want := range before {
		if got, err := g.rows(g.call(view)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %d rows (%v) when all came twice, want the same %d as before", view, len(got), err, len(want))
		}
	}
}

// TestHostileValues: whatever stands in a parameter is a value. It finds what a
// value finds that nothing has, or it is refused.
func TestHostileValues(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	g := generate(t, ch, 3, 5, 3, 3)
	refusals := map[string]string{"after": "is damaged, or of another view", "address": "is neither an address nor a CIDR"}
	for _, view := range Views() {
		for _, p := range view.Parameters {
			if p.Type != "String" {
				continue
			}
			nothing, err := g.rows(g.call(view.Name, p.Name, "'nothing-has-this'"))
			if refusals[p.Name] == "" && err != nil {
				t.Errorf("%s: %v", view.Name, err)
			}
			for _, hostile := range []string{"' OR 1=1 --", `\' OR 1=1 -- `, `\\')) OR 1=1 -- `, "') UNION ALL SELECT * FROM netview.events --", "%", "_", "*", ".*", "{sensor_id:String}", ",", "\x00", "\xff\xfe", "☃", strings.Repeat("a", 10_000)} {
				query := fmt.Sprintf("SELECT toString(tuple(%s)) FROM %s", map[bool]string{true: "* EXCEPT (cursor)", false: "*"}[strings.HasSuffix(view.Name, "_after")], g.call(view.Name, p.Name, "{value:String}"))
				answer, err := g.reader.Query(context.Background(), query, chgo.Named("value", hostile))
				var rows []string
				for err == nil && answer.Next() {
					var row string
					err = answer.Scan(&row)
					rows = append(rows, row)
				}
				if err == nil {
					err = answer.Err()
				}
				slices.Sort(rows)
				if want := refusals[p.Name]; want != "" {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%s with %s %.60q: %d rows, %v, want the refusal %q", view.Name, p.Name, hostile, len(rows), err, want)
					}
				} else if err != nil || !slices.Equal(rows, nothing) {
					t.Errorf("%s with %s %.60q: %d rows, %v, want the %d of a value that nothing has", view.Name, p.Name, hostile, len(rows), err, len(nothing))
				}
			}
		}
	}
}

func TestLimitsOutOfRangeAreRefused(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	g := generate(t, ch, 1, 2, 1, 1)
	for _, view := range Views() {
		for _, p := range view.Parameters {
			most := 500
			if strings.HasSuffix(view.Name, "_after") {
				most = 10_000
			}
			want, bad := fmt.Sprintf("limit must be 1 to %d", most), []int{0, -1, most + 1}
			switch p.Name {
			case "port":
				want, bad = "port must be 1 to 65535, or 0 for any", []int{-1, 65536}
			case "limit":
			default:
				continue
			}
			for _, n := range bad {
				for _, sensor := range []string{"''", "'nobody'"} { // on empty data too
					if _, err := g.rows(g.call(view.Name, p.Name, fmt.Sprint(n), "sensor_id", sensor)); err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%s with %s %d, sensor_id %s: %v, want %q", view.Name, p.Name, n, sensor, err, want)
					}
				}
			}
		}
	}
}

// TestViewsAgree holds what the views show of a fleet against what its heartbeats
// count and its tables hold.
func TestViewsAgree(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	g := generate(t, ch, 60, 10, 4, 6)
	sensors := texts(t, g.reader, "SELECT DISTINCT sensor_id FROM netview.heartbeats ORDER BY sensor_id")
	one, two := "'"+sensors[0]+"'", "'"+sensors[1]+","+sensors[2]+"'"
	for _, who := range []string{"''", one, two} {
		counted := func(what string) string {
			return "SELECT toString(sum(" + what + ")) FROM " + g.call("newest_heartbeats", "sensor_id", who)
		}
		filter := map[string]string{"''": "1", one: "sensor_id = " + one, two: fmt.Sprintf("sensor_id IN ('%s', '%s')", sensors[1], sensors[2])}[who]
		window := fmt.Sprintf(" AND timestamp >= %s AND timestamp < %s AND %s", moment(g.at.Add(-6*time.Hour)), moment(g.at), filter)
		rows := func(view string, arguments ...string) string {
			return "SELECT toString(count()) FROM " + g.call(view, append(arguments, "sensor_id", who)...)
		}
		type agreement struct{ name, got, want string }
		talkers := func(name, condition string, arguments ...string) agreement {
			const columns = `SELECT toString((sensor_id, binary, direction, remote_address, destination_port, flows, refused, bytes_sent, bytes_received))`
			return agreement{"talkers " + name, columns + " FROM " + g.call("top_talkers", append(arguments, "sensor_id", who)...),
				columns + `FROM (SELECT sensor_id, binary, direction, replaceOne(toString(if(direction = 'inbound', source_address, destination_address)), '::ffff:', '') AS remote_address, assumeNotNull(destination_port) AS destination_port,
						count() AS flows, countIf(final_state = 'refused') AS refused, sum(ifNull(events.bytes_sent, 0)) AS bytes_sent, sum(ifNull(events.bytes_received, 0)) AS bytes_received
					FROM netview.events WHERE kind = 'network_flow' AND (` + condition + ")" + window + ` GROUP BY ALL ORDER BY bytes_sent + bytes_received DESC LIMIT 500)`}
		}
		for _, tt := range []agreement{
			{"connections", "SELECT toString(total) FROM " + g.call("connections_pager", "sensor_id", who), counted("connections")},
			{"connections_after", rows("connections_after", "limit", "10000"), counted("connections")},
			{"listeners", rows("listeners"), counted("tcp_listeners")},
			{"udp_listeners", rows("udp_listeners"), counted("udp_listeners")},
			{"listeners_after", rows("listeners_after", "limit", "10000"), counted("tcp_listeners + udp_listeners")},
			{"flows", rows("flows"), counted("flows")},
			{"flows_after", rows("flows_after", "limit", "10000"), counted("flows")},
			{"summary", "SELECT toString(sum(connections)) FROM " + g.call("summary", "sensor_id", who), counted("connections")},
			{"events_after", rows("events_after", "limit", "10000"), "SELECT toString(count()) FROM netview.events WHERE 1" + window},
			{"events_after of a kind", rows("events_after", "limit", "10000", "kind", "'network_connect'"), "SELECT toString(count()) FROM netview.events WHERE kind = 'network_connect'" + window},
			{"completed_flows", rows("completed_flows"), "SELECT toString(count()) FROM netview.events WHERE kind = 'network_flow'" + window},
			{"failed_connects", "SELECT toString(sum(attempts)) FROM " + g.call("failed_connects", "sensor_id", who), "SELECT toString(count()) FROM netview.events WHERE kind = 'network_connect' AND result != 'ok'" + window},
			{"disruptions", rows("disruptions"), "SELECT toString(count()) FROM netview.heartbeats FINAL WHERE heartbeat = 1" + window},
			talkers("all", "1"),
			talkers("of a program", "binary = '/usr/sbin/nginx'", "process", "'nginx'"),
			talkers("with an address", "toString(source_address) LIKE '::ffff:10.101.%' OR toString(destination_address) LIKE '::ffff:10.101.%'", "address", "'10.101.0.0/16'"),
			talkers("of states", "final_state IN ('refused', 'half-closed')", "final_state", "'refused,half-closed'"),
			talkers("that nobody is", "0", "process", "'nobody'"),
			{"names of addresses", "SELECT toString(sum(events)) FROM " + g.call("names_of_address", "sensor_id", who, "address", "'198.18.0.0/15'"),
				`SELECT toString(sum(multiIf(answers != [], countEqual(arrayMap(a -> startsWith(a, '198.18.') OR startsWith(a, '198.19.'), answers), true),
					toString(destination_address) LIKE '::ffff:198.1%' AND (remote_name IS NOT NULL OR kind = 'dns_resolution'), 1, 0))) FROM netview.events WHERE (kind != 'dns_query' OR answers != [])` + window},
			{"questions", "SELECT toString(sum(queries)) FROM " + g.call("dns_names", "sensor_id", who), "SELECT toString(count()) FROM netview.events WHERE kind = 'dns_query'" + window},
			{"questions that failed", "SELECT toString(sum(failed + unanswered)) FROM " + g.call("dns_names", "sensor_id", who), "SELECT toString(sumIf(failures, kind = 'dns_query')) FROM " + g.call("dns_failures", "sensor_id", who)},
		} {
			got, want := texts(t, g.reader, tt.got), texts(t, g.reader, tt.want)
			slices.Sort(got)
			slices.Sort(want)
			if nothing := len(got) == 0 || got[0] == "0"; !slices.Equal(got, want) || nothing && who == "''" && !strings.Contains(tt.name, "nobody") {
				t.Errorf("%s for sensor_id %s: %v, want %v", tt.name, who, got, want)
			}
		}
	}
	ports := texts(t, g.reader, "SELECT concat(service, ' ', toString(listeners), ' ', toString(listeners = length(sensors))) FROM "+g.call("telecom_ports"))
	want := texts(t, g.reader, `SELECT concat(s, ' ', toString(countIf(local_port = p)), ' 1') FROM netview.snapshot_listeners
		CROSS JOIN (SELECT arrayJoin([('radius', 1812), ('radius_accounting', 1813), ('gtp_u', 2152), ('pfcp', 8805), ('sctp_over_udp', 9899)]) AS x, x.1 AS s, x.2 AS p) AS named
		WHERE heartbeat = 6 AND transport = 'udp' GROUP BY s, p ORDER BY p`)
	if !slices.Equal(ports, want) {
		t.Errorf("telecom ports: %v, want %v", ports, want)
	}
}

// TestViewsOfSnapshots: which heartbeat, which rows, and in what form.
func TestViewsOfSnapshots(t *testing.T) {
	ch := testch.Start(t)
	store := startReady(t, ch)
	now := time.Now().UTC().Truncate(time.Millisecond)
	session, sequence := uuid.New(), uint64(0)
	envelope := func(sensor string, age time.Duration) event.Envelope {
		sequence++
		return event.Envelope{Resource: event.Resource{SensorID: sensor, Session: session, HostName: "host-" + sensor, Version: "1.2.3"}, Sequence: sequence, Timestamp: now.Add(-age)}
	}
	listener := func(sensor string, age time.Duration, transport, address string, port uint16) event.Event {
		return &event.Listener{Envelope: envelope(sensor, age), Heartbeat: 1, Transport: transport, Family: "ipv4", LocalAddress: netip.MustParseAddr(address), LocalPort: port, Ephemeral: port > 32767}
	}
	flow := func(sensor string, age time.Duration, state string) event.Event {
		return &event.Flow{Envelope: envelope(sensor, age), Heartbeat: 1, State: state, Direction: event.DirectionInbound, DirectionSource: event.SourceAccept,
			Ends:      event.Ends{Transport: "tcp", Family: "ipv6", SourceAddress: netip.MustParseAddr("192.0.2.7"), SourcePort: 40000, DestinationAddress: netip.MustParseAddr("2001:db8::1"), DestinationPort: 443},
			BytesSent: event.Some(uint64(7)), Duration: event.Some(1500 * time.Millisecond), DurationSource: event.SourceAccept}
	}
	flows := uint64(2)
	heartbeat := func(sensor string, age time.Duration) event.Event {
		return &event.Heartbeat{Envelope: envelope(sensor, age), Heartbeat: 1, Connections: 5, TCPListeners: 1, UDPListeners: 6, Flows: event.Some(flows), Mode: event.ModeEBPF,
			Interval: 15 * time.Second, Losses: map[string]uint64{"ring_buffer": 3, "spool": 4}}
	}
	for sensor, age := range map[string]time.Duration{"a": 5 * time.Second, "stale": 2 * time.Minute, "gone": 7 * time.Minute} {
		store.commit(t, listener(sensor, age, "tcp", "0.0.0.0", 22), listener(sensor, age, "udp", "0.0.0.0", 2152), listener(sensor, age, "udp", "::", 8805), listener(sensor, age, "udp", "192.0.2.1", 1812),
			listener(sensor, age, "udp", "127.0.0.1", 1813), listener(sensor, age, "udp", "::1", 9899), listener(sensor, age, "udp", "0.0.0.0", 40001),
			flow(sensor, age, event.FlowEstablished), flow(sensor, age, event.FlowHalfClosed), heartbeat(sensor, age))
	}
	store.commit(t, listener("a", time.Second, "tcp", "0.0.0.0", 80)) // the heartbeat is still to come
	store.commit(t, listener("a", 10*time.Minute, "udp", "0.0.0.0", 2152), listener("a", 10*time.Minute, "udp", "192.0.2.1", 2152))
	failed := &event.NetworkConnect{Envelope: envelope("a", time.Minute), Result: "refused", Ends: event.Ends{Transport: "tcp", Family: "ipv4",
		SourceAddress: netip.MustParseAddr("192.0.2.1"), DestinationAddress: netip.MustParseAddr("192.0.2.2"), DestinationPort: 25}}
	store.commit(t, failed)
	reader := connect(t, ch, engine.Reader)
	at := moment(now)
	for _, tt := range []struct {
		query string
		want  []string
	}{
		{"SELECT concat(sensor_id, ' ', assumeNotNull(host_name), ' ', local_address, ' ', toString(local_port), ' ', toString(stale)) FROM netview.listeners(sensor_id = '', at = %s)",
			[]string{"a host-a 0.0.0.0 22 0", "stale host-stale 0.0.0.0 22 1"}},
		{"SELECT concat(local_address, ' ', toString(local_port), ' ', ifNull(service, '-'), ' ', toString(ephemeral)) FROM netview.udp_listeners(sensor_id = 'a', at = %s)",
			[]string{"0.0.0.0 2152 gtp_u false", ":: 8805 pfcp false", "192.0.2.1 1812 radius false", "127.0.0.1 1813 radius_accounting false", "::1 9899 sctp_over_udp false", "0.0.0.0 40001 - true"}},
		{"SELECT concat(toString(local_port), ' ', service, ' ', toString(listeners), ' ', toString(sensors)) FROM netview.telecom_ports(sensor_id = '', at = %s)",
			[]string{"1812 radius 1 ['a']", "1813 radius_accounting 1 ['a']", "2152 gtp_u 1 ['a']", "8805 pfcp 1 ['a']", "9899 sctp_over_udp 1 ['a']"}},
		{"SELECT concat(toString(local_port), ' ', toString(listeners)) FROM netview.telecom_ports(sensor_id = 'nobody', at = %s)", []string{"1812 0", "1813 0", "2152 0", "8805 0", "9899 0"}},
		{"SELECT concat(sensor_id, ' ', service, ' ', ifNull(toString(listeners), '-'), ' of ', toString(most), ' ', toString(stale)) FROM netview.telecom_by_sensor(sensor_id = '', since = %[1]s - INTERVAL 1 HOUR, until = %[1]s) WHERE local_port = 2152",
			[]string{"a gtp_u 1 of 2 0", "gone gtp_u - of 1 1", "stale gtp_u - of 1 1"}},
		{"SELECT concat(sensor_id, ' ', source_address, ' ', destination_address, ' ', state, ' ', toString(bytes_sent), ' ', toString(isNull(bytes_received)), ' ', toString(duration_secs)) FROM netview.flows(sensor_id = '', at = %s) WHERE NOT stale",
			[]string{"a 192.0.2.7 2001:db8::1 established 7 1 1.5", "a 192.0.2.7 2001:db8::1 half-closed 7 1 1.5"}},
		{"SELECT concat(sensor_id, ' ', toString(stale), ' ', toString(age_secs), ' ', toString(connections), ' ', toString(udp_listeners), ' ', toString(flows), ' ', toString(lost), ' ', toString(failed_connects), ' ', toString(round(events_per_second * 300))) FROM netview.summary(sensor_id = '', at = %s)",
			[]string{"a 0 5 5 6 2 7 1 1", "stale 1 120 5 6 2 7 0 0"}},
		{"SELECT concat(sensor_id, ' ', what, ' ', detail) FROM netview.disruptions(sensor_id = 'a', since = %[1]s - INTERVAL 1 HOUR, until = %[1]s)", []string{"a start sensor 1.2.3 started"}},
		{"SELECT sensor_id FROM netview.summary(sensor_id = 'gone', at = %s - INTERVAL 6 MINUTE)", []string{"gone"}},
	} {
		query := fmt.Sprintf(tt.query, at)
		if got := texts(t, reader, query); !slices.Equal(got, tt.want) {
			t.Errorf("%s\n got %q\nwant %q", query, got, tt.want)
		}
	}
}

func TestEventsSearch(t *testing.T) {
	ch := testch.Start(t)
	store := startReady(t, ch)
	now := time.Now().UTC().Truncate(time.Millisecond)
	session, sequence := uuid.New(), uint64(0)
	envelope := func(sensor string, age time.Duration) event.Envelope {
		sequence++
		return event.Envelope{Resource: event.Resource{SensorID: sensor, Session: session}, Sequence: sequence, Timestamp: now.Add(-age)}
	}
	ends := func(source string, sourcePort uint16, destination string, port uint16) event.Ends {
		return event.Ends{Transport: "tcp", Family: "ipv4", SourceAddress: netip.MustParseAddr(source), SourcePort: sourcePort, DestinationAddress: netip.MustParseAddr(destination), DestinationPort: port}
	}
	curl := event.Process{PID: event.Some(uint32(77)), Binary: "/usr/bin/curl", Name: "curl"}
	nginx := event.Process{PID: event.Some(uint32(80)), Binary: "/usr/sbin/nginx", Name: "nginx: worker"}
	store.commit(t,
		&event.NetworkConnect{Envelope: envelope("a", time.Minute), Ends: ends("10.0.0.1", 40000, "192.0.2.10", 443), Result: "ok", Process: curl, RemoteName: "api.example.com"},
		&event.NetworkConnect{Envelope: envelope("b", 2*time.Minute), Ends: ends("10.0.1.1", 40001, "2001:db8::5", 25), Result: "refused", Process: curl, RemoteName: "Example.com"},
		&event.NetworkAccept{Envelope: envelope("c", 3*time.Minute), Ends: ends("192.0.2.99", 50000, "10.0.0.3", 443), Process: nginx},
		&event.NetworkListen{Envelope: envelope("c", 4*time.Minute), Target: event.Target{Transport: "tcp", Family: "ipv4", DestinationAddress: netip.MustParseAddr("0.0.0.0"), DestinationPort: 443}, Process: nginx},
		&event.NetworkFlow{Envelope: envelope("a", 90*time.Minute), Ends: ends("10.0.0.1", 40000, "192.0.2.10", 443), Direction: event.DirectionOutbound, Process: curl, RemoteName: "notexample.com", FinalState: event.FinalEstablished},
	)
	store.commit(t,
		&event.DNSQuery{Envelope: envelope("d", 10*time.Minute), Ends: ends("10.0.0.4", 50001, "192.0.2.53", 53), Protocol: event.ProtocolDNS, Name: "www.example.org", Type: "A", Servers: []string{"192.0.2.53"},
			Attempts: event.Some(uint32(1)), Result: event.DNSAnswered, RCode: "NOERROR", Latency: event.Some(20 * time.Millisecond), Answers: []string{"cdn.example.net", "203.0.113.80"}, AnswerTypes: []string{"CNAME", "A"}, AnswerTTLs: []uint32{60, 60}, Process: curl},
		&event.DNSLookup{Envelope: envelope("d", 11*time.Minute), Name: "www.example.org", Result: event.ResultOK, Addresses: []string{"203.0.113.80", "2001:db8::80"}, Process: curl},
	)
	reader := connect(t, ch, engine.Reader)
	all := "1 2 3 4 6 7"
	for _, tt := range []struct{ name, value, want string }{
		{"", "", all}, {"limit", "2", "1 2"},
		{"since", moment(now.Add(-2 * time.Hour)), all + " 5"}, {"until", moment(now.Add(-2*time.Minute - time.Second)), "3 4 6 7"},
		{"sensor_id", "'b'", "2"}, {"sensor_id", "'a,c'", "1 3 4"}, {"sensor_id", "'a,'", "1"},
		{"kind", "'network_accept'", "3"}, {"kind", "'network_connect,network_listen'", "1 2 4"}, {"kind", "'connect'", ""},
		{"process", "'curl'", "1 2 6 7"}, {"process", "'/usr/sbin/nginx'", "3 4"}, {"process", "'sbin/nginx'", "3 4"}, {"process", "'nginx'", "3 4"}, {"process", "'ginx'", ""}, {"process", "'77'", "1 2 6 7"}, {"process", "'nginx: worker'", "3 4"},
		{"address", "'192.0.2.10'", "1"}, {"address", "'::ffff:192.0.2.10'", "1"}, {"address", "'192.0.2.0/24'", "1 3 6"}, {"address", "'10.0.0.0/15'", "1 2 3 6"}, {"address", "'10.0.0.0/24'", "1 3 6"},
		{"address", "'2001:db8::5'", "2"}, {"address", "'2001:db8::/32'", "2"}, {"address", "'0.0.0.0/0'", "1 2 3 4 6"}, {"address", "'203.0.113.1'", ""},
		{"port", "443", "1 3 4"}, {"port", "50000", "3"}, {"port", "1", ""},
		{"name", "'example.com'", "1 2"}, {"name", "'EXAMPLE.com.'", "1 2"}, {"name", "'api.example.com'", "1"}, {"name", "'xample.com'", ""}, {"name", "'com'", "1 2"}, {"name", "'example.org'", "6 7"},
	} {
		arguments := map[string]string{"sensor_id": "''", "kind": "''", "process": "''", "address": "''", "port": "0", "name": "''", "since": moment(now.Add(-time.Hour)), "until": moment(now), "limit": "500", tt.name: tt.value}
		delete(arguments, "")
		var list []string
		for name, value := range arguments {
			list = append(list, name+" = "+value)
		}
		query := "SELECT toString(sequence) FROM netview.events_search(" + strings.Join(list, ", ") + ")"
		if got := texts(t, reader, query); strings.Join(got, " ") != tt.want {
			t.Errorf("%s = %s finds %v, want %s", tt.name, tt.value, got, tt.want)
		}
	}
	for _, bad := range []string{"300.1.1.1", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "::/129", "/", "10.0.0.0/-1", "host"} {
		if _, err := tryTexts(reader, "SELECT address FROM netview.names_of_address(sensor_id = '', address = '"+bad+"', since = now64(3), until = now64(3), limit = 1)"); err == nil || !strings.Contains(err.Error(), "address "+bad+" is neither") {
			t.Errorf("address %s: %v", bad, err)
		}
	}
	shown := texts(t, reader, "SELECT concat(source_address, ' ', destination_address) FROM netview.events_search(sensor_id = 'b', kind = '', process = '', address = '', port = 0, name = '', since = "+moment(now.Add(-time.Hour))+", until = "+moment(now)+", limit = 1)")
	if !slices.Equal(shown, []string{"10.0.1.1 2001:db8::5"}) {
		t.Errorf("addresses are shown as %v", shown)
	}
}

// TestDNSViews: which questions count as failed, and how a name is known.
func TestDNSViews(t *testing.T) {
	ch := testch.Start(t)
	store := startReady(t, ch)
	now := time.Now().UTC().Truncate(time.Millisecond)
	session, sequence := uuid.New(), uint64(0)
	envelope := func() event.Envelope {
		sequence++
		return event.Envelope{Resource: event.Resource{SensorID: "a", Session: session}, Sequence: sequence, Timestamp: now.Add(-time.Minute)}
	}
	process := event.Process{PID: event.Some(uint32(5)), Binary: "/bin/app"}
	query := func(name, result, rcode string, latency time.Duration, answers ...string) event.Event {
		q := &event.DNSQuery{Envelope: envelope(), Ends: event.Ends{Transport: "udp", Family: "ipv4", SourceAddress: netip.MustParseAddr("192.0.2.1"), DestinationAddress: netip.MustParseAddr("192.0.2.53"), DestinationPort: 53},
			Protocol: event.ProtocolDNS, Name: name, Type: "A", Servers: []string{"192.0.2.53"}, Attempts: event.Some(uint32(2)), Result: result, RCode: rcode, Answers: answers, Process: process}
		if latency > 0 {
			q.Latency = event.Some(latency)
		}
		return q
	}
	lookup := func(name, result string, addresses ...string) event.Event {
		return &event.DNSLookup{Envelope: envelope(), Name: name, Result: result, Addresses: addresses, Process: process}
	}
	store.commit(t,
		query("good.example", event.DNSAnswered, "NOERROR", 10*time.Millisecond, "alias.example", "203.0.113.1", "203.0.113.2"),
		query("good.example", event.DNSAnswered, "NOERROR", 30*time.Millisecond),
		query("bad.example", event.DNSAnswered, "NXDOMAIN", time.Millisecond), query("bad.example", event.DNSAnswered, "NXDOMAIN", time.Millisecond), query("bad.example", event.DNSNoAnswer, "", 0),
		query("cut.example", event.DNSUnfinished, "", 0), query("", event.DNSEncrypted, "", 0),
		lookup("good.example", event.ResultOK, "203.0.113.1", "2001:db8::1"), lookup("bad.example", "EAI_NONAME"),
		&event.DNSResolution{Envelope: envelope(), Target: event.Target{Transport: "tcp", Family: "ipv4", DestinationAddress: netip.MustParseAddr("203.0.113.1"), DestinationPort: 443}, Name: "good.example", Source: event.NameFromLookup, Process: process},
	)
	reader := connect(t, ch, engine.Reader)
	window := fmt.Sprintf("sensor_id = '', since = %s, until = %s, limit = 500", moment(now.Add(-time.Hour)), moment(now))
	asked := func(process, name string) string {
		return "process = '" + process + "', name = '" + name + "', " + window
	}
	for _, tt := range []struct {
		query string
		want  []string
	}{
		{"SELECT concat(kind, ' ', name, ' ', failure, ' ', toString(failures), ' ', ifNull(toString(transmissions), '-'), ' ', toString(servers)) FROM netview.dns_failures(" + asked("", "") + ")",
			[]string{"dns_query bad.example NXDOMAIN 2 4 ['192.0.2.53']", "dns_lookup bad.example EAI_NONAME 1 - []", "dns_query bad.example no_answer 1 2 ['192.0.2.53']"}},
		{"SELECT concat(name, ' ', toString(queries), ' ', toString(failed), ' ', toString(unanswered), ' ', ifNull(toString(latency_p95_secs), '-')) FROM netview.dns_names(" + asked("", "") + ")",
			[]string{"bad.example 3 2 1 0.001", "good.example 2 0 0 0.03", "cut.example 1 0 0 -"}},
		{"SELECT name FROM netview.dns_names(" + asked("app", "Cut.example.") + ")", []string{"cut.example"}},
		{"SELECT name FROM netview.dns_names(" + asked("/bin/app", "example") + ")", []string{"bad.example", "good.example", "cut.example"}},
		{"SELECT name FROM netview.dns_names(" + asked("", "xample") + ")", nil},
		{"SELECT concat(name, ' ', failure) FROM netview.dns_failures(" + asked("app", "bad.example") + ")", []string{"bad.example NXDOMAIN", "bad.example EAI_NONAME", "bad.example no_answer"}},
		{"SELECT name FROM netview.dns_failures(" + asked("ap", "") + ")", nil},
		{"SELECT concat(address, ' ', name, ' ', toString(kinds), ' ', toString(events), ' ', toString(binaries)) FROM netview.names_of_address(address = '', " + window + ")",
			[]string{"2001:db8::1 good.example ['dns_lookup'] 1 ['/bin/app']", "203.0.113.1 good.example ['dns_lookup','dns_query','dns_resolution'] 3 ['/bin/app']", "203.0.113.2 good.example ['dns_query'] 1 ['/bin/app']"}},
		{"SELECT concat(address, ' ', name) FROM netview.names_of_address(address = '2001:db8::1', " + window + ")", []string{"2001:db8::1 good.example"}},
		{"SELECT concat(address, ' ', name) FROM netview.names_of_address(address = '203.0.113.2/32', " + window + ")", []string{"203.0.113.2 good.example"}},
		{"SELECT address FROM netview.names_of_address(address = '192.0.2.53', " + window + ")", nil}, // a server of DNS has no name by its questions
	} {
		got := texts(t, reader, tt.query)
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(tt.want))) {
			t.Errorf("%s\n got %q\nwant %q", tt.query, got, tt.want)
		}
	}
}

// TestSearchesUseTheKey: kind, sensor and time are in the key of events, an
// address has an index.
func TestSearchesUseTheKey(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	g := generate(t, ch, 40, 10, 60, 60)
	sensor := "'" + texts(t, g.reader, "SELECT any(sensor_id) FROM netview.events")[0] + "'"
	for _, table := range []string{"events", "snapshot_connections", "snapshot_listeners"} {
		g.exec("OPTIMIZE TABLE netview.%s FINAL", table)
	}
	for _, tt := range []struct {
		call string
		most float64 // of the granules
	}{
		{g.call("events_search", "sensor_id", sensor), 0.4},
		{g.call("events_search", "sensor_id", sensor, "kind", "'network_connect'"), 0.2},
		{g.call("failed_connects"), 0.5},
		{g.call("completed_flows", "sensor_id", sensor), 0.2},
		{g.call("top_talkers", "sensor_id", sensor), 0.2},
		{g.call("connections", "sensor_id", sensor), 0.5},
		{g.call("connections_pager", "sensor_id", sensor), 0.5},
	} {
		if got := granules(t, g, "SELECT * FROM "+tt.call); float64(got[0]) > tt.most*float64(got[1]) {
			t.Errorf("%s: the key leaves %d of %d granules, want %.0f %% at most", tt.call, got[0], got[1], 100*tt.most)
		}
	}
	whole := g.read("SELECT * FROM " + g.call("events_search", "address", "'0.0.0.0/0'"))
	for _, call := range []string{g.call("events_search", "address", "'203.0.113.77'"), g.call("names_of_address", "address", "'203.0.113.77'")} {
		if read := g.read("SELECT * FROM " + call); read > whole/2 {
			t.Errorf("%s reads %d rows for an address that nobody has, all are %d", call, read, whole)
		}
	}
}
