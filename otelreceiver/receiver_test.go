package otelreceiver

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
	"github.com/netview-project/netview/otelreceiver/internal/metadata"
)

func TestMain(m *testing.M) { testch.Main(m) }

// startReceiver runs a receiver on free ports and returns a client of it.
func startReceiver(t *testing.T, ch *testch.Server) plogotlp.GRPCClient {
	config := createDefaultConfig().(*Config)
	config.Protocols.GRPC.GetOrInsertDefault().NetAddr.Endpoint = testch.FreeAddress(t)
	config.Protocols.HTTP.GetOrInsertDefault().NetAddr.Endpoint = testch.FreeAddress(t)
	config.ClickHouse.DSN = configopaque.String(ch.DSN(engine.Writer))
	config.ClickHouse.Schema.DSN = configopaque.String(ch.DSN(engine.Owner))
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	r, err := NewFactory().CreateLogs(context.Background(), receivertest.NewNopSettings(metadata.Type), config, consumertest.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(context.Background(), componenttest.NewNopHost()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient(config.Protocols.GRPC.Get().NetAddr.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return plogotlp.NewGRPCClient(conn)
}

// snapshot makes a heartbeat with n connections.
func snapshot(n int, at time.Time) []event.Event {
	resource := event.Resource{SensorID: "s1", Session: uuid.New(), HostName: "h1"}
	envelope := func(sequence int) event.Envelope {
		return event.Envelope{Resource: resource, Sequence: uint64(sequence), Timestamp: at}
	}
	var events []event.Event
	for i := range n {
		events = append(events, &event.Connection{Envelope: envelope(i + 1), Heartbeat: 1, Netns: 4026531840, Family: "ipv4",
			LocalAddress: netip.MustParseAddr("192.0.2.1"), LocalPort: uint16(1024 + i), RemoteAddress: netip.MustParseAddr("2001:db8::1"), RemotePort: 443,
			State: "established", Direction: "unknown", Inode: uint64(i + 1), Process: event.Process{PID: event.Some(uint32(7)), Binary: "/usr/bin/x"},
			Duration: event.Some(90 * time.Second), DurationSource: "first_seen"})
	}
	return append(events, &event.Heartbeat{Envelope: envelope(n + 1), Heartbeat: 1, Connections: uint64(n), Mode: event.ModeCompatibility, Interval: 15 * time.Second})
}

// send retries while the receiver says Unavailable, as a sensor does.
func send(t *testing.T, client plogotlp.GRPCClient, events []event.Event) plogotlp.ExportResponse {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		response, err := client.Export(context.Background(), plogotlp.NewExportRequestFromLogs(event.Encode(events)))
		if err == nil {
			return response
		}
		if status.Code(err) != codes.Unavailable || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestStoredOnceAndPaged(t *testing.T) {
	ch := testch.Start(t)
	client := startReceiver(t, ch)
	at := time.Now().Add(-time.Second).UTC().Truncate(time.Microsecond)
	events := snapshot(250, at)
	for range 2 { // the second time is a retry whose first answer was lost
		if n := send(t, client, events).PartialSuccess().RejectedLogRecords(); n != 0 {
			t.Fatalf("%d records rejected", n)
		}
	}
	conn, err := clickhouse.Open(ch.DSN(engine.Reader))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := context.Background()
	ports := map[uint16]bool{}
	for _, page := range []string{"1", "2", "3"} {
		rows, err := conn.Query(ctx, "SELECT local_address, local_port, remote_address, pid, binary, duration_secs, total, page_count FROM netview.connections(sensor_id = '', at = now64(3, 'UTC'), page = "+page+", page_size = 100)")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var local, remote string
			var port uint16
			var pid *uint32
			var binary *string
			var duration *float64
			var total, pages uint64
			if err := rows.Scan(&local, &port, &remote, &pid, &binary, &duration, &total, &pages); err != nil {
				t.Fatal(err)
			}
			if ports[port] {
				t.Errorf("port %d is on two pages", port)
			}
			ports[port] = true
			if local != "192.0.2.1" || remote != "2001:db8::1" || pid == nil || *pid != 7 || binary == nil || *binary != "/usr/bin/x" || duration == nil || *duration != 90 || total != 250 || pages != 3 {
				t.Fatalf("row %s %s %v %v %v total %d pages %d", local, remote, pid, binary, duration, total, pages)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		rows.Close()
	}
	if len(ports) != 250 {
		t.Errorf("the pages hold %d connections, want 250", len(ports))
	}
	for _, bad := range []string{"page = 0, page_size = 10", "page = 1, page_size = 0", "page = 1, page_size = 501"} {
		for _, sensor := range []string{"", "nobody"} {
			for _, view := range []string{"connections", "connections_pager"} {
				rows, err := conn.Query(ctx, "SELECT * FROM netview."+view+"(sensor_id = '"+sensor+"', at = now64(3, 'UTC'), "+bad+")")
				if err == nil {
					for rows.Next() {
					}
					err = rows.Err()
				}
				if err == nil || !strings.Contains(err.Error(), "must be 1") {
					t.Errorf("%s with %s, sensor %q: error %v, want one that says so", view, bad, sensor, err)
				}
			}
		}
	}
}

func TestBadRecordsCostThemselves(t *testing.T) {
	ch := testch.Start(t)
	client := startReceiver(t, ch)
	logs := event.Encode(snapshot(3, time.Now()))
	records := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
	records.At(0).Attributes().PutInt("network.local.port", 70000)
	records.At(1).SetTimestamp(1) // 1970
	var response plogotlp.ExportResponse
	send(t, client, snapshot(1, time.Now())) // ready
	response, err := client.Export(context.Background(), plogotlp.NewExportRequestFromLogs(logs))
	if err != nil {
		t.Fatal(err)
	}
	if p := response.PartialSuccess(); p.RejectedLogRecords() != 1 || !strings.Contains(p.ErrorMessage(), "70000") {
		t.Errorf("rejected %d: %q", p.RejectedLogRecords(), p.ErrorMessage())
	}
	conn, err := clickhouse.Open(ch.DSN(engine.Reader))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var stored, quarantined uint64
	if err := conn.QueryRow(context.Background(), "SELECT (SELECT count() FROM netview.snapshot_connections), (SELECT count() FROM netview.quarantine WHERE reason = 'absurd_date')").Scan(&stored, &quarantined); err != nil {
		t.Fatal(err)
	}
	if stored != 2 || quarantined != 1 {
		t.Errorf("stored %d, quarantined %d; want 2 and 1", stored, quarantined)
	}
}

func TestClickHouseKilledBetweenRequests(t *testing.T) {
	ch := testch.Start(t)
	client := startReceiver(t, ch)
	send(t, client, snapshot(10, time.Now()))
	ch.Kill()
	_, err := client.Export(context.Background(), plogotlp.NewExportRequestFromLogs(event.Encode(snapshot(10, time.Now()))))
	if status.Code(err) != codes.Unavailable {
		t.Fatalf("without ClickHouse the answer is %v, want Unavailable", err)
	}
	ch.Restart()
	send(t, client, snapshot(10, time.Now()))
	conn, err := clickhouse.Open(ch.DSN(engine.Reader))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var stored uint64
	if err := conn.QueryRow(context.Background(), "SELECT uniqExact(session, sequence) FROM netview.snapshot_connections").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if stored != 20 {
		t.Errorf("%d connections stored, want the 20 that were acknowledged", stored)
	}
}
