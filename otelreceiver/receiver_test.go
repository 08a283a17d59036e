package otelreceiver

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
	"github.com/netview-project/netview/otelreceiver/internal/metadata"
)

func TestMain(m *testing.M) { testch.Main(m) }

// running is a started receiver.
type running struct {
	plogotlp.GRPCClient
	http      string // the URL of OTLP/HTTP
	grpc      string // the address of OTLP/gRPC
	telemetry *componenttest.Telemetry
	host      *statusHost
}

// statusHost remembers what the component reports of itself.
type statusHost struct{ statuses chan *componentstatus.Event }

func (h *statusHost) GetExtensions() map[component.ID]component.Component { return nil }
func (h *statusHost) Report(event *componentstatus.Event)                 { h.statuses <- event }

// until waits for a status.
func (h *statusHost) until(t *testing.T, want componentstatus.Status) *componentstatus.Event {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case e := <-h.statuses:
			if e.Status() == want {
				return e
			}
		case <-timeout:
			t.Fatalf("the component never reported %v", want)
		}
	}
}

// testConfig has free ports and the engine's users; without an engine, a
// ClickHouse that is not there.
func testConfig(t *testing.T, ch *testch.Server) *Config {
	config := createDefaultConfig().(*Config)
	config.Protocols.GRPC.GetOrInsertDefault().NetAddr.Endpoint = testbin.FreeAddress(t)
	config.Protocols.HTTP.GetOrInsertDefault().NetAddr.Endpoint = testbin.FreeAddress(t)
	config.ClickHouse.DSN = configopaque.String("clickhouse://" + testbin.FreeAddress(t))
	if ch != nil {
		config.ClickHouse.DSN = configopaque.String(ch.DSN(engine.Writer))
		config.ClickHouse.Schema.DSN = configopaque.String(ch.DSN(engine.Owner))
	}
	return config
}

// startReceiver runs a receiver until the test ends.
func startReceiver(t *testing.T, config *Config, next consumer.Logs) *running {
	t.Helper()
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	s := &running{telemetry: componenttest.NewTelemetry(), host: &statusHost{make(chan *componentstatus.Event, 1000)}}
	settings := receivertest.NewNopSettings(metadata.Type)
	settings.TelemetrySettings = s.telemetry.NewTelemetrySettings()
	r, err := NewFactory().CreateLogs(context.Background(), settings, config, next)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(context.Background(), s.host); err != nil {
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
	s.GRPCClient = plogotlp.NewGRPCClient(conn)
	s.grpc = config.Protocols.GRPC.Get().NetAddr.Endpoint
	s.http = "http://" + config.Protocols.HTTP.Get().NetAddr.Endpoint + "/v1/logs"
	return s
}

// startReady is startReceiver with a ClickHouse that answers.
func startReady(t *testing.T, ch *testch.Server) *running {
	t.Helper()
	r := startReceiver(t, testConfig(t, ch), consumertest.NewNop())
	r.host.until(t, componentstatus.StatusOK)
	return r
}

// count runs a query for one number.
func count(t *testing.T, ch *testch.Server, query string) uint64 {
	t.Helper()
	conn, err := clickhouse.Open(ch.DSN(engine.Reader))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var n uint64
	if err := conn.QueryRow(context.Background(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
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

func TestARetriedRequestIsStoredOnce(t *testing.T) {
	ch := testch.Start(t)
	r := startReady(t, ch)
	events := snapshot(250, time.Now().Add(-time.Second).UTC().Truncate(time.Microsecond))
	for range 2 { // the second time is a retry whose first answer was lost
		if n := send(t, r, events).PartialSuccess().RejectedLogRecords(); n != 0 {
			t.Fatalf("%d records rejected", n)
		}
	}
	const view = "SELECT count() FROM netview.connections(sensor_id = '', at = now64(3, 'UTC'), page = 1, page_size = 500)"
	if n := count(t, ch, view+" WHERE total = 250 AND remote_address = '2001:db8::1' AND pid = 7 AND duration_secs = 90"); n != 250 {
		t.Errorf("the view has %d of the 250 connections", n)
	}
}

func TestBadRecordsCostThemselves(t *testing.T) {
	ch := testch.Start(t)
	client := startReady(t, ch)
	logs := event.Encode(snapshot(3, time.Now()))
	records := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
	records.At(0).Attributes().PutInt("network.local.port", 70000)
	records.At(1).SetTimestamp(1) // 1970
	response, err := client.Export(context.Background(), plogotlp.NewExportRequestFromLogs(logs))
	if err != nil {
		t.Fatal(err)
	}
	if p := response.PartialSuccess(); p.RejectedLogRecords() != 1 || !strings.Contains(p.ErrorMessage(), "70000") {
		t.Errorf("rejected %d: %q", p.RejectedLogRecords(), p.ErrorMessage())
	}
	if n := count(t, ch, "SELECT count() FROM netview.snapshot_connections "); n != 1 {
		t.Errorf("%d good records stored, want 1", n)
	}
	if n := count(t, ch, "SELECT count() FROM netview.quarantine WHERE reason = 'absurd_date' AND sequence = 2"); n != 1 {
		t.Errorf("%d records in quarantine, want 1", n)
	}
}

func TestClickHouseKilledBetweenRequests(t *testing.T) {
	ch := testch.Start(t)
	client := startReady(t, ch)
	send(t, client, snapshot(10, time.Now()))
	ch.Kill()
	_, err := client.Export(context.Background(), plogotlp.NewExportRequestFromLogs(event.Encode(snapshot(10, time.Now()))))
	if status.Code(err) != codes.Unavailable {
		t.Fatalf("without ClickHouse the answer is %v, want Unavailable", err)
	}
	ch.Restart()
	send(t, client, snapshot(10, time.Now()))
	if n := count(t, ch, "SELECT uniqExact(session, sequence) FROM netview.snapshot_connections"); n != 20 {
		t.Errorf("%d connections stored, want the 20 that were acknowledged", n)
	}
}

// export sends once, and returns the code of the answer.
func (r *running) export(events []event.Event) (codes.Code, plogotlp.ExportResponse) {
	response, err := r.Export(context.Background(), plogotlp.NewExportRequestFromLogs(event.Encode(events)))
	return status.Code(err), response
}
