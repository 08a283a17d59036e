package faults

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// road is a way from OTLP to ClickHouse.
type road struct {
	// start starts the collector of a number, perhaps again.
	start func(w *world, i int) *collector
	// tally counts the rows of events of sensors, and their identities.
	tally string
}

var netviewRoad = road{
	start: func(w *world, _ int) *collector {
		grpc, http, health := testbin.FreeAddress(w.t), testbin.FreeAddress(w.t), testbin.FreeAddress(w.t)
		_, metrics, _ := net.SplitHostPort(testbin.FreeAddress(w.t))
		return &collector{testbin.Start(w.t, "netview-collector", []string{
			"NETVIEW_CLICKHOUSE_DSN=" + w.clickhouse.DSN(engine.Writer), "NETVIEW_CLICKHOUSE_OWNER_DSN=" + w.clickhouse.DSN(engine.Owner),
			"NETVIEW_OTLP_GRPC_ENDPOINT=" + grpc, "NETVIEW_OTLP_HTTP_ENDPOINT=" + http, "NETVIEW_HEALTH_ENDPOINT=" + health, "NETVIEW_COLLECTOR_METRICS_PORT=" + metrics,
		}, "--config", "../../deploy/collector.yaml"), grpc}
	},
	// A clock that jumped has brought some into quarantine: they are stored as well.
	tally: `SELECT count(), uniqExact(session, sequence) FROM (SELECT kind, sensor_id, session, sequence FROM netview.events FINAL
		UNION ALL SELECT kind, sensor_id, session, sequence FROM netview.quarantine FINAL) WHERE kind = 'network_flow' AND sensor_id IN (%s)`,
}

// peerRoad is otlpreceiver and clickhouseexporter, with a sending queue.
func peerRoad(binary, queue string) road {
	return road{
		start: func(w *world, i int) *collector {
			grpc := testbin.FreeAddress(w.t)
			storage := filepath.Join(w.dir, fmt.Sprint("storage-", i))
			if err := os.MkdirAll(storage, 0o700); err != nil {
				w.t.Fatal(err)
			}
			config := filepath.Join(w.t.TempDir(), "peer.yaml")
			text := strings.NewReplacer("{{grpc}}", grpc, "{{storage}}", storage, "{{clickhouse}}", w.clickhouse.DSN(engine.Owner), "{{queue}}", queue).Replace(peerConfig)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				w.t.Fatal(err)
			}
			return &collector{testbin.StartFile(w.t, binary, nil, "--config", config), grpc}
		},
		tally: `SELECT count(), uniqExact(ResourceAttributes['service.instance.id'], LogAttributes['netview.flow.bytes_sent'])
			FROM netview.otel_logs WHERE EventName = 'netview.network_flow' AND ResourceAttributes['netview.sensor.id'] IN (%s)`,
	}
}

// peerConfig is the example of clickhouseexporter's README, but for addresses,
// the database and the sending queue.
const peerConfig = `
receivers:
  otlp: {protocols: {grpc: {endpoint: "{{grpc}}"}}}
extensions:
  file_storage: {directory: "{{storage}}", fsync: true}
exporters:
  clickhouse:
    endpoint: "{{clickhouse}}"
    database: netview
    async_insert: true
    ttl: 72h
    compress: lz4
    create_schema: true
    logs_table_name: otel_logs
    timeout: 5s
    retry_on_failure: {enabled: true, initial_interval: 5s, max_interval: 30s, max_elapsed_time: 300s}
    sending_queue: {{queue}}
service:
  extensions: [file_storage]
  pipelines: {logs: {receivers: [otlp], exporters: [clickhouse]}}
  telemetry: {metrics: {level: none}}
`

// BenchmarkFaults lets the same load and the same faults happen to netview and to
// what an expert would pick today: the configuration of its README, that with
// the queue on disk which the README recommends, and that in which an
// acknowledgement waits for the insert. The sender is the same spool for all. It
// counts the events of the sensors whose disk was never full: of those, each that
// is not stored is lost without a word.
func BenchmarkFaults(b *testing.B) {
	peer := os.Getenv("NETVIEW_FAULTS_PEER")
	if peer == "" {
		b.Skip("NETVIEW_FAULTS_PEER names no peer (make bench-faults builds it)")
	}
	duration, seed := settings(b)
	for _, subject := range []struct {
		name string
		road road
	}{
		{"netview", netviewRoad},
		{"peer_readme", peerRoad(peer, "{enabled: true, num_consumers: 10, queue_size: 1000, batch: {flush_timeout: 5s, min_size: 5000}}")},
		{"peer_file_storage", peerRoad(peer, "{enabled: true, num_consumers: 10, queue_size: 1000, storage: file_storage, batch: {flush_timeout: 5s, min_size: 5000}}")},
		{"peer_wait_for_result", peerRoad(peer, "{wait_for_result: true, num_consumers: 4, sizer: items, queue_size: 1000000, batch: {flush_timeout: 200ms, min_size: 20000, max_size: 100000}}")},
	} {
		b.Run(subject.name, func(b *testing.B) {
			w := newWorld(b, rand.New(rand.NewPCG(seed, 0)), subject.road, 3, 1000)
			w.suffer(duration)
			w.settle()
			for _, c := range w.collectors { // what they still hold is stored at their clean end
				_ = c.Command.Process.Signal(syscall.SIGTERM)
				c.Wait()
			}
			tally := w.tally(subject.road)
			b.ReportMetric(float64(tally.made), "events")
			b.ReportMetric(float64(tally.made)-float64(tally.stored), "lost")
			b.ReportMetric(float64(tally.rows-tally.stored), "twice")
			for name, megabytes := range w.peak {
				b.ReportMetric(megabytes, name+"-MB")
			}
		})
	}
}

// tally counts the events of the sensors whose disk was never full.
type tally struct{ made, stored, rows uint64 }

func (w *world) tally(road road) (t tally) {
	w.t.Helper()
	for _, l := range w.ledgers() {
		if l.sensor.disk == "" {
			t.made += l.events
		}
	}
	var ids []string
	for _, s := range w.sensors {
		if s.disk == "" {
			ids = append(ids, "'"+s.orders.SensorID+"'")
		}
	}
	w.row(fmt.Sprintf(road.tally, strings.Join(ids, ", ")), &t.rows, &t.stored)
	return t
}
