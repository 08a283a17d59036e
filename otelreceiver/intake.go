package otelreceiver

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/internal/metadata"
)

// intake takes OTLP requests of either protocol to the store, and answers when
// they are committed.
type intake struct {
	store     *clickhouse.Store
	telemetry *metadata.Telemetry
	budget    *budget
	maxSkew   time.Duration
	sensors   *sensors
	next      consumer.Logs // nil unless records are forwarded
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
	answerDenied     = "denied"
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
	for _, answer := range []string{answerOK, answerPartial, answerNotReady, answerOverloaded, answerDenied, answerFailed} {
		telemetry.Requests.Add(ctx, 0, metric.WithAttributes(attribute.String("answer", answer)))
	}
	for _, result := range []string{resultOK, resultError} {
		telemetry.Commits.Add(ctx, 0, metric.WithAttributes(attribute.String("result", result)))
	}
	for _, cause := range deniedCauses() {
		telemetry.Denied.Add(ctx, 0, metric.WithAttributes(attribute.String("cause", cause)))
	}
	telemetry.InFlight.Add(ctx, 0)
	telemetry.Shared.Add(ctx, 0)
	for _, file := range []string{fileAccess, fileTLS} {
		telemetry.Unreadable.Add(ctx, 0, metric.WithAttributes(attribute.String("file", file)))
	}
}

// take stores the records of an OTLP request in protobuf form, for which the
// caller has room in the budget, and returns how many there were. Its error is a
// gRPC status: Unavailable may be retried, PermissionDenied says that the sender
// is not who it would have to be. sent is when the sender sent the
// request, in Unix nanoseconds, or empty. free is called when the body is no
// longer needed: before the commit, unless it is forwarded afterwards.
func (in *intake) take(ctx context.Context, from *sender, body []byte, free func(), sent string) (response plogotlp.ExportResponse, records int, err error) {
	response = plogotlp.NewExportResponse()
	size := int64(len(body))
	in.telemetry.InFlight.Add(ctx, size)
	defer in.telemetry.InFlight.Add(ctx, -size)

	request, err := in.read(from.check(), body, sent)
	defer request.release()
	if in.next == nil || err != nil {
		free()
	} else {
		defer free()
	}
	if err != nil {
		return response, 0, in.answer(ctx, answerFailed, status.Errorf(codes.InvalidArgument, "the body is not an OTLP logs request: %v", err))
	}
	if err := from.gate.deny(ctx, from, request.denied); err != nil {
		return response, request.records, in.answer(ctx, answerDenied, err)
	}
	if err := in.sensors.take(ctx, request, time.Now()); err != nil {
		return response, request.records, in.answer(ctx, answerOverloaded, err)
	}
	if len(request.events)+len(request.quarantined) > 0 {
		// A sender that goes away does not take its rows with it: until they are
		// committed they have their share of the budget.
		if err := in.store.Commit(context.WithoutCancel(ctx), request.addTo); err != nil {
			return response, request.records, in.answer(ctx, answerNotReady, status.Error(codes.Unavailable, err.Error()))
		}
	} else if err := in.store.Err(); err != nil && request.rejected == 0 {
		return response, request.records, in.answer(ctx, answerNotReady, status.Error(codes.Unavailable, err.Error()))
	}
	if in.next != nil {
		if err := in.forward(ctx, body, request); err != nil {
			return response, request.records, in.answer(ctx, answerFailed, err)
		}
	}
	in.count(ctx, request)
	answer := answerOK
	if request.rejected > 0 {
		answer = answerPartial
		response.PartialSuccess().SetRejectedLogRecords(int64(request.rejected))
		response.PartialSuccess().SetErrorMessage(request.first)
	}
	return response, request.records, in.answer(ctx, answer, nil)
}

func (in *intake) answer(ctx context.Context, answer string, err error) error {
	in.telemetry.Requests.Add(ctx, 1, metric.WithAttributes(attribute.String("answer", answer)))
	return err
}

// request is what one OTLP request holds.
type request struct {
	records     int
	events      []event.Event
	quarantined []clickhouse.Quarantined
	denied      *denial // the sender may not speak for one of its sensors
	rejected    int
	first       string // why the first was rejected
	outcomes    map[string]int
	// Of the records that are forwarded: which are not, by position, and how
	// many are of other producers.
	withheld []bool
	foreign  int

	decoder *event.Decoder // that made the events; nil once it is given back
}

// release gives the events back.
func (r *request) release() {
	if r.decoder != nil {
		r.events = nil
		r.decoder.Recycle()
		decoders.Put(r.decoder)
		r.decoder = nil
	}
}

func (r *request) addTo(batch *clickhouse.Batch) {
	for _, e := range r.events {
		batch.Add(e)
	}
	for _, q := range r.quarantined {
		batch.Quarantine(q)
	}
	r.release() // not held while the commit is waited for
}

func (r *request) reject(cause event.Cause, err error) {
	if r.rejected == 0 {
		r.first = err.Error()
	}
	r.rejected++
	r.outcomes[string(cause)]++
}

// decoders are kept between requests, with the strings that they remember and
// the events that were given back.
var decoders = sync.Pool{New: func() any { return event.NewDecoder() }}

// read decodes a request whose sender may speak for the sensors that check lets
// pass, or for all. Its error says that the body is no OTLP.
func (in *intake) read(check func(sensorID string) *denial, body []byte, sent string) (*request, error) {
	r := &request{outcomes: map[string]int{}, decoder: decoders.Get().(*event.Decoder)}
	clock := newClock(time.Now(), sent, in.maxSkew)
	err := r.decoder.Decode(body, func(record event.Record) {
		r.records++
		if check != nil && record.Err == nil && r.denied == nil {
			r.denied = check(record.Event.Env().SensorID)
		}
		withheld := in.readRecord(r, clock, &record)
		if in.next != nil {
			r.withheld = append(r.withheld, withheld)
		}
	})
	return r, err
}

// readRecord sorts a record. It reports whether the record is malformed, so that
// it must not be handed on.
func (in *intake) readRecord(r *request, clock clock, record *event.Record) (withheld bool) {
	if refused := record.Err; refused != nil {
		if refused.Cause == event.CauseForeign && in.next != nil {
			r.foreign++
			return false
		}
		r.reject(refused.Cause, refused)
		return true
	}
	if reason := clock.disbelieve(record.Timestamp); reason != "" {
		r.quarantined = append(r.quarantined, clock.quarantine(reason, record))
		r.outcomes[outcomeQuarantined]++
		return false
	}
	r.events = append(r.events, record.Event)
	r.outcomes[outcomeStored]++
	return false
}

// forward hands the records on. Those of other producers are not stored, so a
// permanent error of the next consumer is all that can be said of them.
func (in *intake) forward(ctx context.Context, body []byte, r *request) error {
	logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "the body is not an OTLP logs request: %v", err)
	}
	position := -1
	for _, rl := range logs.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			sl.LogRecords().RemoveIf(func(plog.LogRecord) bool {
				position++
				return r.withheld[position]
			})
		}
	}
	if logs.LogRecordCount() == 0 {
		return nil
	}
	err = in.next.ConsumeLogs(ctx, logs)
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
func (c clock) disbelieve(timestamp uint64) string {
	at := pcommon.Timestamp(timestamp).AsTime()
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

func (c clock) quarantine(reason string, record *event.Record) clickhouse.Quarantined {
	env := record.Event.Env()
	q := clickhouse.Quarantined{SensorID: env.SensorID, Session: env.Session, Sequence: env.Sequence, Kind: record.Event.Kind(),
		Reason: reason, Timestamp: record.Timestamp, Record: recordJSON(record)}
	if c.skew != nil {
		seconds := c.skew.Seconds()
		q.Skew = &seconds
	}
	return q
}

// recordJSON is the whole record as OTLP JSON, so that nothing of it is lost.
func recordJSON(record *event.Record) string {
	logs, err := record.Logs()
	if err != nil {
		return strconv.Quote(err.Error())
	}
	text, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	if err != nil {
		return strconv.Quote(err.Error())
	}
	return string(text)
}
