package exporter

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/netview-project/netview/event"
)

func state() State {
	at := time.Unix(1_800_000_000, 500_000_000).UTC()
	return State{
		Snapshot: &event.Snapshot{
			Heartbeat: &event.Heartbeat{Envelope: event.Envelope{Timestamp: at}, TimeWait: 3, Namespaces: 2, CollectDuration: 20 * time.Millisecond},
			Connections: []*event.Connection{
				{State: "established", Family: "ipv4", Direction: "inbound"},
				{State: "established", Family: "ipv4", Direction: "inbound"},
				{State: "close_wait", Family: "ipv6", Direction: "unknown"},
			},
			Listeners: []*event.Listener{{Transport: "udp", Family: "ipv6"}},
		},
		Acknowledged: at.Add(-15 * time.Second),
		Waiting:      1,
		Losses:       map[string]uint64{"socket_row_malformed": 4},
		Failures:     2,
	}
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
# HELP netview_heartbeat_acknowledged_timestamp_seconds When the newest heartbeat that the collector acknowledged was taken; absent until one is.
# TYPE netview_heartbeat_acknowledged_timestamp_seconds gauge
netview_heartbeat_acknowledged_timestamp_seconds{sensor_id="s1"} 1.7999999855e+09
# HELP netview_heartbeat_taken_timestamp_seconds When the newest heartbeat was taken.
# TYPE netview_heartbeat_taken_timestamp_seconds gauge
netview_heartbeat_taken_timestamp_seconds{sensor_id="s1"} 1.8000000005e+09
# HELP netview_listeners Listening TCP sockets, and bound and unconnected UDP sockets.
# TYPE netview_listeners gauge
netview_listeners{family="ipv4",sensor_id="s1",transport="tcp"} 0
netview_listeners{family="ipv4",sensor_id="s1",transport="udp"} 0
netview_listeners{family="ipv6",sensor_id="s1",transport="tcp"} 0
netview_listeners{family="ipv6",sensor_id="s1",transport="udp"} 1
# HELP netview_losses_total What could not be read or delivered, by cause.
# TYPE netview_losses_total counter
netview_losses_total{cause="socket_row_malformed",sensor_id="s1"} 4
`

func TestExposition(t *testing.T) {
	registry := NewRegistry(event.Resource{SensorID: "s1"}, state)
	err := testutil.GatherAndCompare(registry, strings.NewReader(golden), "netview_connections", "netview_listeners", "netview_losses_total",
		"netview_heartbeat_taken_timestamp_seconds", "netview_heartbeat_acknowledged_timestamp_seconds")
	if err != nil {
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
}

func TestBeforeTheFirstHeartbeat(t *testing.T) {
	registry := NewRegistry(event.Resource{SensorID: "s1"}, func() State { return State{} })
	n, err := testutil.GatherAndCount(registry, "netview_connections", "netview_heartbeat_taken_timestamp_seconds", "netview_heartbeat_acknowledged_timestamp_seconds")
	if err != nil || n != 0 {
		t.Errorf("%d series of a snapshot that does not exist (%v)", n, err)
	}
}
