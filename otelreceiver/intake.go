package otelreceiver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/internal/metadata"
)

// intake takes OTLP requests of either protocol to the store, and answers when
// they are committed.
type intake struct {
	store     *clickhouse.Store
	telemetry *metadata.Telemetry
	limit     int64 // bytes in flight
	maxSkew   time.Duration
	next      consumer.Logs // nil unless records are forwarded

	inFlight atomic.Int64
}

// What becomes of a record beside its refusal by an [event.Cause].
const (
	outcomeStored      = "stored"
	outcomeQuarantined = "quarantined"
)

// Answers to a request.
const (
	answerOK         = "ok"
	answerPartial    = "partial"
	answerNotReady   = "not_ready"
	answerOverloaded = "overloaded"
	answerFailed     = "failed"
)

// startCounters gives every series its zero, so that the first loss is a rise.
func startCounters(telemetry *metadata.Telemetry) {
	ctx := context.Background()
	for _, outcome := range []string{outcomeStored, outcomeQuarantined} {
		telemetry.Records.Add(ctx, 0, metric.WithAttributes(attribute.String("outcome", outcome)))
	}
	for _, cause := range event.Causes() {
		telemetry.Records.Add(ctx, 0, metric.WithAttributes(attribute.String("outcome", string(cause))))
	}
	for _, answer := range []string{answerOK, answerPartial, answerNotReady, answerOverloaded, answerFailed} {
		telemetry.Requests.Add(ctx, 0, metric.WithAttributes(attribute.String("answer", answer)))
	}
	for _, result := range []string{resultOK, resultError} {
		telemetry.Commits.Add(ctx, 0, metric.WithAttributes(attribute.String("result", result)))
	}
	telemetry.InFlight.Add(ctx, 0)
}

// retryDelay is what an overloaded receiver asks of senders.
const retryDelay = time.Second

// take stores the records of a request of the given uncompressed size. Its error
// is a gRPC status: Unavailable and ResourceExhausted may be retried. sent is
// when the sender sent the request, in Unix nanoseconds, or empty.
func (in *intake) take(ctx context.Context, logs plog.Logs, size int64, sent string) (plogotlp.ExportResponse, error) {
	response := plogotlp.NewExportResponse()
	if now := in.inFlight.Add(size); now > in.limit {
		in.inFlight.Add(-size)
		return response, in.answer(ctx, answerOverloaded, overloaded(now, in.limit))
	}
	in.telemetry.InFlight.Add(ctx, size)
	defer func() {
		in.inFlight.Add(-size)
		in.telemetry.InFlight.Add(ctx, -size)
	}()

	request := in.read(logs, sent)
	if len(request.events)+len(request.quarantined) > 0 {
		if err := in.store.Commit(ctx, request.addTo); err != nil {
			return response, in.answer(ctx, answerNotReady, status.Error(codes.Unavailable, err.Error()))
		}
	} else if err := in.store.Err(); err != nil && request.rejected == 0 {
		return response, in.answer(ctx, answerNotReady, status.Error(codes.Unavailable, err.Error()))
	}
	if in.next != nil {
		if err := in.forward(ctx, logs, request); err != nil {
			return response, in.answer(ctx, answerFailed, err)
		}
	}
	in.count(ctx, request)
	answer := answerOK
	if request.rejected > 0 {
		answer = answerPartial
		response.PartialSuccess().SetRejectedLogRecords(int64(request.rejected))
		response.PartialSuccess().SetErrorMessage(request.first)
	}
	return response, in.answer(ctx, answer, nil)
}

func (in *intake) answer(ctx context.Context, answer string, err error) error {
	in.telemetry.Requests.Add(ctx, 1, metric.WithAttributes(attribute.String("answer", answer)))
	return err
}

func overloaded(now, limit int64) error {
	s := status.Newf(codes.ResourceExhausted, "%d bytes would be in flight, the limit is %d (max_in_flight_mib): retry later", now, limit)
	if detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)}); err == nil {
		s = detailed
	}
	return s.Err()
}

// request is what one OTLP request holds.
type request struct {
	events      []event.Event
	quarantined []clickhouse.Quarantined
	rejected    int
	first       string // why the first was rejected
	outcomes    map[string]int
	foreign     int
}

func (r *request) addTo(batch *clickhouse.Batch) {
	for _, e := range r.events {
		batch.Add(e)
	}
	for _, q := range r.quarantined {
		batch.Quarantine(q)
	}
}

func (r *request) reject(cause event.Cause, err error) {
	if r.rejected == 0 {
		r.first = err.Error()
	}
	r.rejected++
	r.outcomes[string(cause)]++
}

// read decodes a request. When records are forwarded, foreign ones are left in
// logs and netview's malformed ones are taken out.
func (in *intake) read(logs plog.Logs, sent string) *request {
	r := &request{events: make([]event.Event, 0, logs.LogRecordCount()), outcomes: map[string]int{}}
	clock := newClock(time.Now(), sent, in.maxSkew)
	for _, rl := range logs.ResourceLogs().All() {
		resource := rl.Resource().Attributes()
		for _, sl := range rl.ScopeLogs().All() {
			sl.LogRecords().RemoveIf(func(record plog.LogRecord) bool {
				return in.readRecord(r, clock, resource, record)
			})
		}
	}
	return r
}

func (in *intake) readRecord(r *request, clock clock, resource pcommon.Map, record plog.LogRecord) (remove bool) {
	e, err := event.Decode(resource, record)
	if err != nil {
		var refused *event.RecordError
		errors.As(err, &refused)
		if refused.Cause == event.CauseForeign && in.next != nil {
			r.foreign++
			return false
		}
		r.reject(refused.Cause, err)
		return in.next != nil
	}
	if reason := clock.disbelieve(record.Timestamp()); reason != "" {
		r.quarantined = append(r.quarantined, clock.quarantine(reason, e, resource, record))
		r.outcomes[outcomeQuarantined]++
		return false
	}
	r.events = append(r.events, e)
	r.outcomes[outcomeStored]++
	return false
}

// forward hands the records on. Those of other producers are not stored, so a
// permanent error of the next consumer is all that can be said of them.
func (in *intake) forward(ctx context.Context, logs plog.Logs, r *request) error {
	if logs.LogRecordCount() == 0 {
		return nil
	}
	err := in.next.ConsumeLogs(ctx, logs)
	switch {
	case err == nil:
	case consumererror.IsPermanent(err):
		for range r.foreign {
			r.reject(event.CauseForeign, fmt.Errorf("the next consumer refused the record: %w", err))
		}
	default:
		return status.Errorf(codes.Unavailable, "the next consumer did not take the records: %v", err)
	}
	return nil
}

func (in *intake) count(ctx context.Context, r *request) {
	for outcome, n := range r.outcomes {
		in.telemetry.Records.Add(ctx, int64(n), metric.WithAttributes(attribute.String("outcome", outcome)))
	}
}

// SentHeader carries the time at which a sender sent a request, in Unix
// nanoseconds: gRPC metadata, or an HTTP header. It stands outside the stored
// bytes so that a retry can tell the time anew.
const SentHeader = "netview-sent-unix-nano"

// clock judges the timestamps of one request.
type clock struct {
	received time.Time
	skew     *time.Duration // received less sent; nil where the sender did not say
	max      time.Duration
}

func newClock(received time.Time, sent string, max time.Duration) clock {
	c := clock{received: received, max: max}
	if nanos, err := strconv.ParseInt(sent, 10, 64); err == nil {
		skew := received.Sub(time.Unix(0, nanos))
		c.skew = &skew
	}
	return c
}

// Outside these years a date cannot be meant, and would wrap in ClickHouse.
var (
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// disbelieve returns why a record goes to quarantine, or nothing. Age is no
// reason: an honest backlog is old.
func (c clock) disbelieve(timestamp pcommon.Timestamp) string {
	at := timestamp.AsTime()
	switch {
	case at.Before(earliest) || !at.Before(latest):
		return "absurd_date"
	case c.skew != nil && c.skew.Abs() > c.max:
		return "clock_skew"
	case at.After(c.received.Add(c.max)):
		return "future"
	}
	return ""
}

func (c clock) quarantine(reason string, e event.Event, resource pcommon.Map, record plog.LogRecord) clickhouse.Quarantined {
	env := e.Env()
	q := clickhouse.Quarantined{SensorID: env.SensorID, Session: env.Session, Sequence: env.Sequence, Kind: e.Kind(),
		Reason: reason, Timestamp: uint64(record.Timestamp()), Record: recordJSON(resource, record)}
	if c.skew != nil {
		seconds := c.skew.Seconds()
		q.Skew = &seconds
	}
	return q
}

// recordJSON is the whole record as OTLP JSON, so that nothing of it is lost.
func recordJSON(resource pcommon.Map, record plog.LogRecord) string {
	logs := plog.NewLogs()
	rl := logs.ResourceLogs().AppendEmpty()
	resource.CopyTo(rl.Resource().Attributes())
	record.CopyTo(rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty())
	text, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
