package otelreceiver

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
	"github.com/netview-project/netview/otelreceiver/internal/metadata"
)

// BenchmarkIntake takes requests of 1,000 records, 100 at a time, to the commit
// in a real ClickHouse: the receiver but for its network.
func BenchmarkIntake(b *testing.B) {
	ch := testch.Start(b)
	telemetry, err := metadata.NewTelemetry(componenttest.NewNopTelemetrySettings())
	if err != nil {
		b.Fatal(err)
	}
	ready := make(chan error, 10)
	store, err := clickhouse.Start(clickhouse.Options{DSN: ch.DSN(engine.Writer), SchemaDSN: ch.DSN(engine.Owner), Database: "netview", ApplySchema: true,
		Retention: clickhouse.DefaultRetention(), MaxRows: 100_000, CommitInterval: 200 * time.Millisecond, CommitTimeout: time.Minute,
		Ready: func(err error) { ready <- err }, Warn: func(err error) { b.Error(err) }, Committed: func(int, time.Duration, error) {}})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	if err := <-ready; err != nil {
		b.Fatal(err)
	}
	in := &intake{store: store, telemetry: telemetry, budget: newBudget(1<<30, 1<<20), maxSkew: time.Hour, sensors: newSensors(1000, telemetry, zap.NewNop())}
	body, err := (&plog.ProtoMarshaler{}).MarshalLogs(event.Encode(snapshot(999, time.Now())))
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(100)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := in.take(context.Background(), &sender{}, body, func() {}, ""); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "rows/s")
}
