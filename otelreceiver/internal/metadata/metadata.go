// Package metadata holds the component's type, stability and own telemetry, as
// metadata.yaml states them.
//
// It has the shape of the Collector's generated package and is kept by hand:
// mdatagen of this Collector release depends on a module that is not published.
// A test holds it against metadata.yaml.
package metadata

import (
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/metric"
)

// ScopeName is the instrumentation scope of the receiver's own telemetry.
const ScopeName = "github.com/netview-project/netview/otelreceiver"

// LogsStability of the component.
const LogsStability = component.StabilityLevelAlpha

// Type of the component: netview.
var Type = component.MustNewType("netview")

// Telemetry holds the instruments of metadata.yaml.
type Telemetry struct {
	Records        metric.Int64Counter
	Requests       metric.Int64Counter
	Commits        metric.Int64Counter
	CommitDuration metric.Float64Histogram
	InFlight       metric.Int64UpDownCounter
	Denied         metric.Int64Counter
	Shared         metric.Int64UpDownCounter
	Unreadable     metric.Int64UpDownCounter
}

// NewTelemetry makes the instruments.
func NewTelemetry(settings component.TelemetrySettings) (*Telemetry, error) {
	meter := settings.MeterProvider.Meter(ScopeName)
	var t Telemetry
	var errs [8]error
	t.Records, errs[0] = meter.Int64Counter("netview_receiver_records", metric.WithUnit("{record}"),
		metric.WithDescription("Records by what became of them. Stored means committed to ClickHouse."))
	t.Requests, errs[1] = meter.Int64Counter("netview_receiver_requests", metric.WithUnit("{request}"),
		metric.WithDescription("OTLP requests by their answer."))
	t.Commits, errs[2] = meter.Int64Counter("netview_receiver_commits", metric.WithUnit("{commit}"),
		metric.WithDescription("Commits to ClickHouse by result."))
	t.CommitDuration, errs[3] = meter.Float64Histogram("netview_receiver_commit_duration", metric.WithUnit("s"),
		metric.WithDescription("How long a commit to ClickHouse took."),
		metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10))
	t.InFlight, errs[4] = meter.Int64UpDownCounter("netview_receiver_in_flight", metric.WithUnit("By"),
		metric.WithDescription("Bytes of the requests that are received and not yet answered."))
	t.Denied, errs[5] = meter.Int64Counter("netview_receiver_denied", metric.WithUnit("{request}"),
		metric.WithDescription("Requests that were refused for who sent them, and handshakes that failed, by cause."))
	t.Shared, errs[6] = meter.Int64UpDownCounter("netview_receiver_shared_sensor_ids", metric.WithUnit("{sensor}"),
		metric.WithDescription("Names of sensors under which two run at the same time."))
	t.Unreadable, errs[7] = meter.Int64UpDownCounter("netview_receiver_unreadable_files", metric.WithUnit("{file}"),
		metric.WithDescription("Access files, and certificates of a protocol, that could be read at the start and cannot be any more."))
	return &t, errors.Join(errs[:]...)
}
