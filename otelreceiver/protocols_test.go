package otelreceiver

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testch"
)

func compress(t *testing.T, encoding string, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		if w, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	default:
		return body
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (r *running) post(t *testing.T, contentType, encoding string, body []byte) (*http.Response, string) {
	t.Helper()
	return r.postPacked(t, contentType, encoding, compress(t, encoding, body))
}

// postPacked is post of a body that is compressed already.
func (r *running) postPacked(t *testing.T, contentType, encoding string, body []byte) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, r.http, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	if encoding != "" {
		request.Header.Set("Content-Encoding", encoding)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

// rejected reads the count of an answer.
func rejected(t *testing.T, unmarshal func(plogotlp.ExportResponse, []byte) error, body string) int64 {
	t.Helper()
	response := plogotlp.NewExportResponse()
	if err := unmarshal(response, []byte(body)); err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	return response.PartialSuccess().RejectedLogRecords()
}

func TestEveryProtocolEncodingAndCompression(t *testing.T) {
	ch := testch.Start(t)
	r := startReady(t, ch)
	want := uint64(0)
	sent := func(how string) {
		t.Helper()
		want += 3
		if n := count(t, ch, "SELECT uniqExact(session, sequence) FROM netview.snapshot_connections"); n != want {
			t.Errorf("after %s %d connections are stored, want %d", how, n, want)
		}
	}
	for _, encoding := range []string{"", "gzip", "zstd"} {
		request := plogotlp.NewExportRequestFromLogs(event.Encode(snapshot(3, time.Now())))
		var options []grpc.CallOption
		if encoding != "" {
			options = append(options, grpc.UseCompressor(encoding))
		}
		if _, err := r.Export(context.Background(), request, options...); err != nil {
			t.Errorf("gRPC %s: %v", encoding, err)
		}
		sent("gRPC " + encoding)

		body, err := plogotlp.NewExportRequestFromLogs(event.Encode(snapshot(3, time.Now()))).MarshalProto()
		if err != nil {
			t.Fatal(err)
		}
		if answer, text := r.post(t, protobufType, encoding, body); answer.StatusCode != http.StatusOK || rejected(t, plogotlp.ExportResponse.UnmarshalProto, text) != 0 {
			t.Errorf("HTTP protobuf %s: %s %q", encoding, answer.Status, text)
		}
		sent("HTTP protobuf " + encoding)

		if body, err = plogotlp.NewExportRequestFromLogs(event.Encode(snapshot(3, time.Now()))).MarshalJSON(); err != nil {
			t.Fatal(err)
		}
		if answer, text := r.post(t, jsonType+"; charset=utf-8", encoding, body); answer.StatusCode != http.StatusOK || rejected(t, plogotlp.ExportResponse.UnmarshalJSON, text) != 0 {
			t.Errorf("HTTP JSON %s: %s %q", encoding, answer.Status, text)
		}
		sent("HTTP JSON " + encoding)
	}
}

func TestHTTPRefusals(t *testing.T) {
	r := startReceiver(t, testConfig(t, nil), consumertest.NewNop())
	for _, tt := range []struct {
		name, contentType, encoding string
		body                        []byte
		code                        int
		quotes                      string
	}{
		{"a body that is no OTLP", protobufType, "", []byte("\xffgarbage"), http.StatusBadRequest, "not an OTLP logs request"},
		{"JSON that is none", jsonType, "", []byte("{"), http.StatusBadRequest, "not an OTLP logs request"},
		{"another content type", "text/plain", "", []byte("x"), http.StatusUnsupportedMediaType, "text/plain"},
		{"gzip that is none", protobufType, "deflate", []byte("x"), http.StatusBadRequest, ""},
		{"ClickHouse away", protobufType, "", nil, http.StatusServiceUnavailable, "ClickHouse"},
		{"too large", protobufType, "", make([]byte, 100<<20), http.StatusRequestEntityTooLarge, "too large"},
	} {
		answer, text := r.post(t, tt.contentType, tt.encoding, tt.body)
		if answer.StatusCode != tt.code || !strings.Contains(text, tt.quotes) {
			t.Errorf("%s: %s %q, want %d naming %q", tt.name, answer.Status, text, tt.code, tt.quotes)
		}
	}
	answer, err := http.Get(r.http)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed || answer.Header.Get("Allow") != http.MethodPost {
		t.Errorf("GET: %s, Allow %q", answer.Status, answer.Header.Get("Allow"))
	}
}

// TestPartialSuccess: foreign and malformed records are counted with the first
// reason, in both protocols, and the rest is stored.
func TestPartialSuccess(t *testing.T) {
	ch := testch.Start(t)
	r := startReady(t, ch)
	logs := event.Encode(snapshot(2, time.Now()))
	records := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
	foreign := records.AppendEmpty()
	foreign.Body().SetStr("somebody's log line")
	teapot := records.AppendEmpty()
	records.At(0).CopyTo(teapot)
	teapot.SetEventName("netview.teapot")
	response, err := r.Export(context.Background(), plogotlp.NewExportRequestFromLogs(logs))
	if err != nil {
		t.Fatal(err)
	}
	if p := response.PartialSuccess(); p.RejectedLogRecords() != 2 || !strings.Contains(p.ErrorMessage(), `begin with "netview."`) {
		t.Errorf("gRPC: %d rejected, %q", p.RejectedLogRecords(), p.ErrorMessage())
	}
	body, err := plogotlp.NewExportRequestFromLogs(logs).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if answer, text := r.post(t, jsonType, "", body); answer.StatusCode != http.StatusOK || rejected(t, plogotlp.ExportResponse.UnmarshalJSON, text) != 2 {
		t.Errorf("HTTP: %s %s", answer.Status, text)
	}
	if n := count(t, ch, "SELECT uniqExact(session, sequence) FROM netview.snapshot_connections"); n != 2 {
		t.Errorf("%d connections stored, want 2", n)
	}
}

// TestClockSkew: only skew or an absurd date puts a record in quarantine, never
// age; and what is there is whole.
func TestClockSkew(t *testing.T) {
	ch := testch.Start(t)
	r := startReady(t, ch)
	at := func(sent, taken time.Time) {
		t.Helper()
		ctx := metadata.AppendToOutgoingContext(context.Background(), SentHeader, strconv.FormatInt(sent.UnixNano(), 10))
		response, err := r.Export(ctx, plogotlp.NewExportRequestFromLogs(event.Encode(snapshot(1, taken)[:1])))
		if err != nil || response.PartialSuccess().RejectedLogRecords() != 0 {
			t.Errorf("sent %v, taken %v: %v %v", sent, taken, response, err)
		}
	}
	now := time.Now()
	at(now, now)
	at(now, now.Add(-20*time.Hour)) // an honest backlog
	at(now.Add(-time.Hour), now.Add(-time.Hour))
	at(now.Add(time.Hour), now.Add(time.Hour))
	at(now, now.Add(time.Hour))
	at(now, time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC))
	at(now, time.Unix(0, 0))
	if n := count(t, ch, "SELECT count() FROM netview.snapshot_connections"); n != 2 {
		t.Errorf("%d records stored, want the 2 that can be believed", n)
	}
	for reason, want := range map[string]uint64{"clock_skew": 2, "future": 1, "absurd_date": 2} {
		if n := count(t, ch, "SELECT count() FROM netview.quarantine WHERE reason = '"+reason+"' AND sensor_id = 's1' AND position(record, '192.0.2.1') > 0"); n != want {
			t.Errorf("%d records in quarantine for %s, want %d", n, reason, want)
		}
	}
	if n := count(t, ch, "SELECT uniqExact(partition_id) FROM (SELECT _partition_id AS partition_id FROM netview.quarantine)"); n != 1 {
		t.Errorf("quarantine has %d partitions, want 1", n)
	}
}

// held is a pipeline that keeps what it is given until it is let go.
type held struct {
	consumertest.LogsSink
	came chan struct{}
	let  chan struct{}
}

func (h *held) ConsumeLogs(context.Context, plog.Logs) error {
	h.came <- struct{}{}
	<-h.let
	return nil
}

// TestOverload: while requests in flight take the room, others are told to come
// back later, and afterwards they are taken.
func TestOverload(t *testing.T) {
	ch := testch.Start(t)
	config := testConfig(t, ch)
	config.Forward = true
	config.MaxInFlightMiB = 5
	config.Protocols.HTTP.Get().MaxRequestBodySize = 5 << 20
	pipeline := &held{came: make(chan struct{}, 10), let: make(chan struct{})}
	r := startReceiver(t, config, pipeline)
	r.host.until(t, componentstatus.StatusOK)
	events := snapshot(5000, time.Now()) // 2 MiB and more: none of gRPC's 4 MiB fits beside it
	let := sync.OnceFunc(func() { close(pipeline.let) })
	t.Cleanup(let) // the receiver does not end before
	first := make(chan codes.Code, 1)
	go func() {
		code, _ := r.export(events)
		first <- code
	}()
	<-pipeline.came
	_, err := r.Export(context.Background(), plogotlp.NewExportRequestFromLogs(event.Encode(events)))
	s := status.Convert(err)
	var retry *errdetails.RetryInfo
	for _, detail := range s.Details() {
		retry, _ = detail.(*errdetails.RetryInfo)
	}
	if s.Code() != codes.ResourceExhausted || retry.GetRetryDelay().AsDuration() <= 0 {
		t.Errorf("gRPC: %v, retry after %v", s, retry)
	}
	large := make([]byte, 5<<20)
	for _, encoding := range []string{"", "gzip", "zstd"} {
		if answer, text := r.post(t, protobufType, encoding, large); answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") == "" {
			t.Errorf("HTTP %s: %s, Retry-After %q, %s", encoding, answer.Status, answer.Header.Get("Retry-After"), text)
		}
	}
	let()
	if code := <-first; code != codes.OK {
		t.Errorf("the request that took the room is answered with %v", code)
	}
	if code, _ := r.export(events); code != codes.OK {
		t.Errorf("a request afterwards is answered with %v", code)
	}
	overload, err := r.telemetry.GetMetric("netview_receiver_requests")
	if err != nil {
		t.Fatal(err)
	}
	for _, point := range overload.Data.(metricdata.Sum[int64]).DataPoints {
		if answer, _ := point.Attributes.Value("answer"); answer.AsString() == answerOverloaded && point.Value != 4 {
			t.Errorf("%d requests are counted as overloaded, want 4", point.Value)
		}
	}
}

// next is a pipeline behind the receiver.
type next struct {
	consumertest.LogsSink
	err atomic.Pointer[error]
}

func (n *next) ConsumeLogs(ctx context.Context, logs plog.Logs) error {
	if err := n.err.Load(); err != nil {
		return *err
	}
	return n.LogsSink.ConsumeLogs(ctx, logs)
}

func TestForward(t *testing.T) {
	ch := testch.Start(t)
	config := testConfig(t, ch)
	config.Forward = true
	pipeline := &next{}
	r := startReceiver(t, config, pipeline)
	r.host.until(t, componentstatus.StatusOK)
	request := func() plogotlp.ExportRequest {
		logs := event.Encode(snapshot(2, time.Now())) // and a heartbeat
		records := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
		records.At(0).Attributes().PutInt("network.local.port", 70000)
		records.AppendEmpty().Body().SetStr("somebody's log line")
		return plogotlp.NewExportRequestFromLogs(logs)
	}

	response, err := r.Export(context.Background(), request())
	if err != nil || response.PartialSuccess().RejectedLogRecords() != 1 {
		t.Errorf("answered %v %v, want 1 record rejected", response, err)
	}
	if n := pipeline.LogRecordCount(); n != 3 {
		t.Errorf("%d records handed on, want the good ones and the foreign one", n)
	}
	if n := count(t, ch, "SELECT count() FROM netview.snapshot_connections"); n != 1 {
		t.Errorf("%d connections stored, want 1", n)
	}

	busy := errors.New("queue is full")
	pipeline.err.Store(&busy)
	if _, err := r.Export(context.Background(), request()); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "queue is full") {
		t.Errorf("a retryable error of the pipeline is answered with %v", err)
	}
	permanent := consumererror.NewPermanent(errors.New("cannot be exported"))
	pipeline.err.Store(&permanent)
	response, err = r.Export(context.Background(), request())
	if err != nil || response.PartialSuccess().RejectedLogRecords() != 2 {
		t.Errorf("a permanent error of the pipeline is answered with %v %v, want the bad and the foreign record rejected", response, err)
	}
}

// TestHostileRequests: each gets an answer, and the receiver goes on.
func TestHostileRequests(t *testing.T) {
	ch := testch.Start(t)
	r := startReady(t, ch)
	record := func(change func(plog.LogRecord)) plogotlp.ExportRequest {
		logs := event.Encode(snapshot(1, time.Now())[:1])
		change(logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0))
		return plogotlp.NewExportRequestFromLogs(logs)
	}
	for name, tt := range map[string]struct {
		change func(plog.LogRecord)
		says   string
	}{
		"a path of 1 MB":     {func(r plog.LogRecord) { r.Attributes().PutStr("process.executable.path", strings.Repeat("x", 1<<20)) }, "1048576 bytes long"},
		"an unknown of 1 MB": {func(r plog.LogRecord) { r.Attributes().PutStr("later", strings.Repeat("x", 1<<20)) }, "later"},
		"10,000 attributes":  {func(r plog.LogRecord) { addAttributes(r, 10_000) }, "more than 256 attributes"},
	} {
		response, err := r.Export(context.Background(), record(tt.change))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p := response.PartialSuccess(); p.RejectedLogRecords() != 1 || !strings.Contains(p.ErrorMessage(), tt.says) {
			t.Errorf("%s: %d rejected, %q; want it to say %q", name, p.RejectedLogRecords(), p.ErrorMessage(), tt.says)
		}
	}

	for name, tt := range hostileBodies(t) {
		if answer, text := r.postPacked(t, protobufType, tt.encoding, tt.body); answer.StatusCode != tt.http {
			t.Errorf("HTTP: %s: %s %q, want %d", name, answer.Status, text, tt.http)
		}
		if err := r.callPacked(tt.encoding, tt.body); status.Code(err) != tt.grpc {
			t.Errorf("gRPC: %s: %v, want %v", name, err, tt.grpc)
		}
	}
	if answer, text := r.post(t, jsonType, "", jsonOf("{},", 16<<20)); answer.StatusCode != http.StatusBadRequest || !strings.Contains(text, "max_in_flight_mib") {
		t.Errorf("JSON of 5 million empty records: %s %q", answer.Status, text)
	}

	send(t, r, snapshot(3, time.Now()))
	if n := count(t, ch, "SELECT count() FROM netview.snapshot_connections"); n != 3 {
		t.Errorf("%d connections stored afterwards, want 3", n)
	}
}

// TestGarbageOverGRPC: a body that is no OTLP is refused for good, with the reason.
func TestGarbageOverGRPC(t *testing.T) {
	config := testConfig(t, nil)
	startReceiver(t, config, consumertest.NewNop())
	conn, err := grpc.NewClient(config.Protocols.GRPC.Get().NetAddr.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wireCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var answer message
	err = conn.Invoke(context.Background(), "/"+logsServiceName+"/Export", &message{mem.SliceBuffer("\xffgarbage")}, &answer)
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "not an OTLP logs request") {
		t.Errorf("garbage is answered with %v", err)
	}
}

func addAttributes(r plog.LogRecord, n int) {
	r.Attributes().EnsureCapacity(n)
	for i := range n {
		r.Attributes().PutInt(strconv.FormatInt(int64(i), 36), 1)
	}
}
