package exporter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/netview-project/netview/event"
)

func state() event.State {
	at := time.Unix(1_800_000_000, 500_000_000).UTC()
	return event.State{
		Now:    at.Add(5 * time.Second),
		Limits: &event.Limits{EphemeralPorts: .25, ListenOverflows: 4, ListenDrops: 6, Conntrack: 100, ConntrackLimit: 262144},
		Snapshot: (&event.Snapshot{
			Heartbeat: &event.Heartbeat{Envelope: event.Envelope{Resource: event.Resource{HostName: "h1", Arch: "amd64", KernelRelease: "6.18.0", Version: "1.2.3"}, Timestamp: at},
				TimeWait: 3, Namespaces: 2, CollectDuration: 20 * time.Millisecond, Interval: 15 * time.Second, Mode: event.ModeCompatibility,
				Features: map[string]string{"socket_tables": "on", "ebpf": "off: not part of this version", "flow": "on: tp_btf/inet_sock_set_state"}},
			Connections: []*event.Connection{
				{State: "established", Family: "ipv4", Direction: "inbound"},
				{State: "established", Family: "ipv4", Direction: "inbound"},
				{State: "close_wait", Family: "ipv6", Direction: "unknown"},
			},
			Flows:     []*event.Flow{{State: "established", Direction: "inbound"}, {State: "half-closed", Direction: "outbound"}},
			Listeners: []*event.Listener{{Transport: "udp", Family: "ipv6", LocalPort: 2152}, {Transport: "udp", Family: "ipv4", LocalPort: 40000, Ephemeral: true}, {Transport: "tcp", Family: "ipv4", LocalPort: 2152}},
		}).Summarize(),
		Collections: []event.Collection{{Name: "socket_tables", Took: 15 * time.Millisecond}, {Name: "processes", Took: 5 * time.Millisecond, Err: errors.New("no")}},
		Churn:       event.Churn{Appeared: map[string]uint64{"tcp": 7}, Vanished: map[string]uint64{"udp": 2}},
		Delivery: &event.Delivery{
			Acknowledged: at.Add(-15 * time.Second), Delivered: map[event.Kind]uint64{event.KindHeartbeat: 9}, Failed: map[string]uint64{"denied": 2}, Waiting: 1, Damaged: 1,
			Events: event.Lane{Records: 5, Bytes: 1000, Limit: 512 << 20, Oldest: at.Add(-time.Minute)}, Lost: map[string]map[event.Kind]uint64{"spool_full": {event.KindNetworkFlow: 3}},
		},
		Kernel: &event.Kernel{Events: map[event.Kind]uint64{event.KindNetworkFlow: 12}, BytesSent: 1000, BytesReceived: 2000, Retransmits: 3,
			Connects: map[event.ConnectLabels]uint64{{Transport: "tcp", Result: "refused"}: 2}, Ended: map[event.EndLabels]uint64{{FinalState: "established", FinalDetail: "reset_by_peer"}: 7},
			Audit: map[string]uint64{"adopted": 1}, DNS: &event.DNS{
				Queries:   map[event.DNSLabels]uint64{{Protocol: "dns", Transport: "udp", Type: "A", Result: "answered", RCode: "NXDOMAIN"}: 4, {Protocol: "mdns", Transport: "udp", Type: "PTR", Result: "no_answer"}: 2},
				Lookups:   map[string]uint64{"ok": 5, "EAI_NONAME": 1},
				Libraries: map[string]int{event.LibraryAttached: 2, "libc_32_bit": 1},
				Latency:   latencies(.0002, .003, 20)}},
		Losses:   map[string]uint64{"socket_row_short": 4},
		Failures: 2,
	}
}

// latencies are what was observed (s), in two classic buckets and in native ones.
func latencies(seconds ...float64) *dto.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Buckets: []float64{.001, 1}, NativeHistogramBucketFactor: 1.1})
	for _, s := range seconds {
		h.Observe(s)
	}
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		panic(err)
	}
	return m.Histogram
}

const golden = `
# HELP netview_connections TCP connections by state, address family and direction, in every network namespace; LISTEN, TIME_WAIT and CLOSE are not connections.
# TYPE netview_connections gauge
netview_connections{direction="inbound",family="ipv4",sensor_id="s1",state="established"} 2
netview_connections{direction="inbound",family="ipv6",sensor_id="s1",state="established"} 0
netview_connections{direction="outbound",family="ipv4",sensor_id="s1",state="established"} 0
netview_connections{direction="outbound",family="ipv6",sensor_id="s1",state="established"} 0
netview_connections{direction="unknown",family="ipv4",sensor_id="s1",state="established"} 0
netview_connections{direction="unknown",family="ipv6",sensor_id="s1",state="close_wait"} 1
netview_connections{direction="unknown",family="ipv6",sensor_id="s1",state="established"} 0
# HELP netview_connects_total Attempts to connect, by transport and result; rare results are other.
# TYPE netview_connects_total counter
netview_connects_total{result="refused",sensor_id="s1",transport="tcp"} 2
# HELP netview_conntrack_entries Connections that the conntrack table of the sensor's own network namespace holds; absent where there is none.
# TYPE netview_conntrack_entries gauge
netview_conntrack_entries{sensor_id="s1"} 100
# HELP netview_conntrack_entries_limit Connections that the conntrack table can hold.
# TYPE netview_conntrack_entries_limit gauge
netview_conntrack_entries_limit{sensor_id="s1"} 262144
# HELP netview_dns_latency_seconds Time from the first transmission of a query to its answer, on port 53.
# TYPE netview_dns_latency_seconds histogram
netview_dns_latency_seconds_bucket{sensor_id="s1",le="0.001"} 1
netview_dns_latency_seconds_bucket{sensor_id="s1",le="1"} 2
netview_dns_latency_seconds_bucket{sensor_id="s1",le="+Inf"} 3
netview_dns_latency_seconds_sum{sensor_id="s1"} 20.0032
netview_dns_latency_seconds_count{sensor_id="s1"} 3
# HELP netview_dns_libraries Files of a libc that processes have in memory, by what became of them: attached, or why no lookups are told of one; docs/lookups.md. Of libc_denied and libc_no_room, processes.
# TYPE netview_dns_libraries gauge
netview_dns_libraries{sensor_id="s1",state="attached"} 2
netview_dns_libraries{sensor_id="s1",state="libc_32_bit"} 1
# HELP netview_dns_lookups_total Calls of getaddrinfo, by their result: ok, or the name of the error.
# TYPE netview_dns_lookups_total counter
netview_dns_lookups_total{result="EAI_NONAME",sensor_id="s1"} 1
netview_dns_lookups_total{result="ok",sensor_id="s1"} 5
# HELP netview_dns_queries_total DNS queries with what became of them, by protocol (dns, mdns or dot), transport, type and rcode; rare types and rcodes are other. result is answered, no_answer, encrypted or unfinished.
# TYPE netview_dns_queries_total counter
netview_dns_queries_total{protocol="dns",rcode="NXDOMAIN",result="answered",sensor_id="s1",transport="udp",type="A"} 4
netview_dns_queries_total{protocol="mdns",rcode="",result="no_answer",sensor_id="s1",transport="udp",type="PTR"} 2
# HELP netview_ephemeral_ports_used_ratio Largest part (0 to 1) of a namespace's ephemeral ports that TCP sockets, those in TIME_WAIT among them, take from one local address to one destination.
# TYPE netview_ephemeral_ports_used_ratio gauge
netview_ephemeral_ports_used_ratio{sensor_id="s1"} 0.25
# HELP netview_ephemeral_udp_listeners UDP listeners among netview_listeners on a port that the kernel hands out by itself: most often clients.
# TYPE netview_ephemeral_udp_listeners gauge
netview_ephemeral_udp_listeners{family="ipv4",sensor_id="s1"} 1
netview_ephemeral_udp_listeners{family="ipv6",sensor_id="s1"} 0
# HELP netview_events_total Events made of what the kernel told, by kind.
# TYPE netview_events_total counter
netview_events_total{kind="network_flow",sensor_id="s1"} 12
# HELP netview_feature_enabled Whether a feature works (1) or not (0), the hook of the kernel that it rests on, and why it does not.
# TYPE netview_feature_enabled gauge
netview_feature_enabled{feature="ebpf",hook="",reason="not part of this version",sensor_id="s1"} 0
netview_feature_enabled{feature="flow",hook="tp_btf/inet_sock_set_state",reason="",sensor_id="s1"} 1
netview_feature_enabled{feature="socket_tables",hook="",reason="",sensor_id="s1"} 1
# HELP netview_flow_differences_total What the flows by eBPF and the socket tables said differently; the sensor audits itself with it.
# TYPE netview_flow_differences_total counter
netview_flow_differences_total{difference="adopted",sensor_id="s1"} 1
# HELP netview_flows TCP flows that live, by state and direction.
# TYPE netview_flows gauge
netview_flows{direction="inbound",sensor_id="s1",state="established"} 1
netview_flows{direction="inbound",sensor_id="s1",state="half-closed"} 0
netview_flows{direction="outbound",sensor_id="s1",state="established"} 0
netview_flows{direction="outbound",sensor_id="s1",state="half-closed"} 1
netview_flows{direction="unknown",sensor_id="s1",state="established"} 0
netview_flows{direction="unknown",sensor_id="s1",state="half-closed"} 0
# HELP netview_flows_ended_total TCP flows that ended, by final state and its detail; rare details are other.
# TYPE netview_flows_ended_total counter
netview_flows_ended_total{final_detail="reset_by_peer",final_state="established",sensor_id="s1"} 7
# HELP netview_heartbeat_acknowledged_timestamp_seconds When the newest heartbeat that the collector acknowledged was taken; absent until one is.
# TYPE netview_heartbeat_acknowledged_timestamp_seconds gauge
netview_heartbeat_acknowledged_timestamp_seconds{sensor_id="s1"} 1.7999999855e+09
# HELP netview_heartbeat_collection_duration_seconds How long the last heartbeat took for the collection.
# TYPE netview_heartbeat_collection_duration_seconds gauge
netview_heartbeat_collection_duration_seconds{collection="processes",sensor_id="s1"} 0.005
netview_heartbeat_collection_duration_seconds{collection="socket_tables",sensor_id="s1"} 0.015
# HELP netview_heartbeat_collection_success Whether the last heartbeat could read what the collection reads.
# TYPE netview_heartbeat_collection_success gauge
netview_heartbeat_collection_success{collection="processes",sensor_id="s1"} 0
netview_heartbeat_collection_success{collection="socket_tables",sensor_id="s1"} 1
# HELP netview_heartbeat_duration_seconds How long taking the newest heartbeat took.
# TYPE netview_heartbeat_duration_seconds gauge
netview_heartbeat_duration_seconds{sensor_id="s1"} 0.02
# HELP netview_heartbeat_failures_total Heartbeats at which nothing could be read.
# TYPE netview_heartbeat_failures_total counter
netview_heartbeat_failures_total{sensor_id="s1"} 2
# HELP netview_heartbeat_interval_seconds Time between two heartbeats.
# TYPE netview_heartbeat_interval_seconds gauge
netview_heartbeat_interval_seconds{sensor_id="s1"} 15
# HELP netview_heartbeat_taken_timestamp_seconds When the newest heartbeat was taken.
# TYPE netview_heartbeat_taken_timestamp_seconds gauge
netview_heartbeat_taken_timestamp_seconds{sensor_id="s1"} 1.8000000005e+09
# HELP netview_listeners Listening TCP sockets, and bound and unconnected UDP sockets.
# TYPE netview_listeners gauge
netview_listeners{family="ipv4",sensor_id="s1",transport="tcp"} 1
netview_listeners{family="ipv4",sensor_id="s1",transport="udp"} 1
netview_listeners{family="ipv6",sensor_id="s1",transport="tcp"} 0
netview_listeners{family="ipv6",sensor_id="s1",transport="udp"} 1
# HELP netview_listeners_appeared_total Listeners that were there at a heartbeat and not at the one before; ephemeral UDP ports are left out.
# TYPE netview_listeners_appeared_total counter
netview_listeners_appeared_total{sensor_id="s1",transport="tcp"} 7
netview_listeners_appeared_total{sensor_id="s1",transport="udp"} 0
# HELP netview_listeners_vanished_total Listeners that were there at a heartbeat and not at the next; ephemeral UDP ports are left out.
# TYPE netview_listeners_vanished_total counter
netview_listeners_vanished_total{sensor_id="s1",transport="tcp"} 0
netview_listeners_vanished_total{sensor_id="s1",transport="udp"} 2
# HELP netview_losses_total What could not be read or delivered, by cause; docs/metrics.md explains each.
# TYPE netview_losses_total counter
netview_losses_total{cause="socket_row_short",sensor_id="s1"} 4
# HELP netview_network_namespaces Network namespaces that the newest heartbeat read.
# TYPE netview_network_namespaces gauge
netview_network_namespaces{sensor_id="s1"} 2
# HELP netview_queue_snapshots Snapshots that wait to be sent, or are being sent.
# TYPE netview_queue_snapshots gauge
netview_queue_snapshots{sensor_id="s1"} 1
# HELP netview_records_acknowledged_total Records that the collector acknowledged, by kind.
# TYPE netview_records_acknowledged_total counter
netview_records_acknowledged_total{kind="heartbeat",sensor_id="s1"} 9
# HELP netview_send_failures_total Attempts to send a request that failed and are repeated, by cause: unreachable (also a TLS that fails), overloaded, denied (for who the sensor is), other.
# TYPE netview_send_failures_total counter
netview_send_failures_total{cause="denied",sensor_id="s1"} 2
# HELP netview_sensor_info What the sensor is; always 1.
# TYPE netview_sensor_info gauge
netview_sensor_info{arch="amd64",host_name="h1",kernel_release="6.18.0",mode="compatibility",sensor_id="s1",version="1.2.3"} 1
# HELP netview_spool_bytes What the spool takes on disk and in memory, by lane.
# TYPE netview_spool_bytes gauge
netview_spool_bytes{lane="events",sensor_id="s1"} 1000
netview_spool_bytes{lane="snapshots",sensor_id="s1"} 0
# HELP netview_spool_damaged_total Segments and snapshots on disk that could not be read to their end.
# TYPE netview_spool_damaged_total counter
netview_spool_damaged_total{sensor_id="s1"} 1
# HELP netview_spool_lost_records_total Records that were lost after they were appended, by cause and kind; the kind is empty where it is not known.
# TYPE netview_spool_lost_records_total counter
netview_spool_lost_records_total{cause="spool_full",kind="network_flow",sensor_id="s1"} 3
# HELP netview_spool_limit_bytes What the spool may take, by lane; beyond it the oldest records are lost.
# TYPE netview_spool_limit_bytes gauge
netview_spool_limit_bytes{lane="events",sensor_id="s1"} 5.36870912e+08
netview_spool_limit_bytes{lane="snapshots",sensor_id="s1"} 0
# HELP netview_spool_oldest_timestamp_seconds When the oldest record that waits was appended, by lane; absent where none waits.
# TYPE netview_spool_oldest_timestamp_seconds gauge
netview_spool_oldest_timestamp_seconds{lane="events",sensor_id="s1"} 1.7999999405e+09
# HELP netview_spool_on_disk Whether what is sent is kept on disk (1), or in memory only (0).
# TYPE netview_spool_on_disk gauge
netview_spool_on_disk{sensor_id="s1"} 1
# HELP netview_spool_records Records that wait in the spool, by lane.
# TYPE netview_spool_records gauge
netview_spool_records{lane="events",sensor_id="s1"} 5
netview_spool_records{lane="snapshots",sensor_id="s1"} 0
# HELP netview_tcp_bytes_total Payload of all TCP flows since the sensor met them, as of the last heartbeat or their end: sent and acknowledged, or received.
# TYPE netview_tcp_bytes_total counter
netview_tcp_bytes_total{direction="received",sensor_id="s1"} 2000
netview_tcp_bytes_total{direction="sent",sensor_id="s1"} 1000
# HELP netview_tcp_listen_drops_total Connections that a listener did not get for any reason, those of netview_tcp_listen_overflows_total among them (TcpExt ListenDrops).
# TYPE netview_tcp_listen_drops_total counter
netview_tcp_listen_drops_total{sensor_id="s1"} 6
# HELP netview_tcp_listen_overflows_total Connections that a listener did not get since its queue was full (TcpExt ListenOverflows), of all network namespaces since the sensor met them.
# TYPE netview_tcp_listen_overflows_total counter
netview_tcp_listen_overflows_total{sensor_id="s1"} 4
# HELP netview_tcp_retransmits_total TCP segments that were sent again, of all flows since the sensor met them.
# TYPE netview_tcp_retransmits_total counter
netview_tcp_retransmits_total{sensor_id="s1"} 3
# HELP netview_tcp_time_wait_sockets TCP sockets in TIME_WAIT.
# TYPE netview_tcp_time_wait_sockets gauge
netview_tcp_time_wait_sockets{sensor_id="s1"} 3
# HELP netview_telecom_listeners UDP listeners on the fixed ports of telecom services.
# TYPE netview_telecom_listeners gauge
netview_telecom_listeners{port="1812",sensor_id="s1",service="radius"} 0
netview_telecom_listeners{port="1813",sensor_id="s1",service="radius_accounting"} 0
netview_telecom_listeners{port="2152",sensor_id="s1",service="gtp_u"} 1
netview_telecom_listeners{port="8805",sensor_id="s1",service="pfcp"} 0
netview_telecom_listeners{port="9899",sensor_id="s1",service="sctp_over_udp"} 0
# HELP netview_time_seconds The sensor's clock when it was scraped.
# TYPE netview_time_seconds gauge
netview_time_seconds{sensor_id="s1"} 1.8000000055e+09
`

func names() (list []string) {
	for _, d := range Describe() {
		list = append(list, d.Name)
	}
	return list
}

func TestExposition(t *testing.T) {
	registry := NewRegistry(event.Resource{SensorID: "s1"}, state)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(golden), names()...); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "netview_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, name := range names() {
		if !strings.Contains(golden, "# HELP "+name+" ") {
			t.Errorf("%s is not in the golden exposition", name)
		}
	}
}

func TestBeforeTheFirstHeartbeat(t *testing.T) {
	registry := NewRegistry(event.Resource{SensorID: "s1"}, func() event.State { return event.State{} })
	n, err := testutil.GatherAndCount(registry, "netview_connections", "netview_heartbeat_taken_timestamp_seconds", "netview_heartbeat_acknowledged_timestamp_seconds")
	if err != nil || n != 0 {
		t.Errorf("%d series of a snapshot that does not exist (%v)", n, err)
	}
}

// TestLatencyIsNativeToo: those who ask for native buckets get them.
func TestLatencyIsNativeToo(t *testing.T) {
	families, err := NewRegistry(event.Resource{SensorID: "s1"}, state).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == dnsLatency.name {
			h := f.GetMetric()[0].GetHistogram()
			if h.Schema == nil || len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) != 2 || f.GetMetric()[0].GetLabel()[0].GetValue() != "s1" {
				t.Errorf("%v", f)
			}
			return
		}
	}
	t.Error("it is not there")
}

// TestSeriesAreBounded: neither 10,000 listeners nor a port scan makes series.
func TestSeriesAreBounded(t *testing.T) {
	s := state()
	var snapshot event.Snapshot
	states := []string{"established", "syn_sent", "syn_received", "fin_wait_1", "fin_wait_2", "close_wait", "last_ack", "closing", "unknown"}
	for i := range 10_000 {
		address := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		snapshot.Listeners = append(snapshot.Listeners, &event.Listener{Transport: []string{"tcp", "udp"}[i%2], Family: []string{"ipv4", "ipv6"}[i/2%2], LocalAddress: address, LocalPort: uint16(i)})
		snapshot.Connections = append(snapshot.Connections, &event.Connection{State: states[rand.IntN(len(states))], Family: []string{"ipv4", "ipv6"}[i%2],
			Direction: []string{"inbound", "outbound", "unknown"}[i%3], LocalAddress: address, LocalPort: uint16(i), Process: event.Process{Binary: fmt.Sprint("/bin/", i)}})
	}
	snapshot.Heartbeat = s.Snapshot.Heartbeat
	s.Snapshot = snapshot.Summarize()
	registry := NewRegistry(event.Resource{SensorID: "s1"}, func() event.State { return s })
	n, err := testutil.GatherAndCount(registry, names()...)
	const bound = 150
	if err != nil || n > bound {
		t.Errorf("%d series, at most %d may be (%v)", n, bound, err)
	}
}
