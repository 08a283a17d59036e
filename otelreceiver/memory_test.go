package otelreceiver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
	"github.com/netview-project/netview/otelreceiver/internal/metadata"
)

// hostile is a body that is made to take memory, with its answers.
type hostile struct {
	encoding string
	body     []byte
	http     int
	grpc     codes.Code
}

func hostileBodies(t *testing.T) map[string]hostile {
	t.Helper()
	// gzip and zstd may be concatenated, so nobody packs 10 GB here.
	const piece = 16 << 20
	bomb := func(encoding string, size int64) []byte {
		return bytes.Repeat(compress(t, encoding, make([]byte, piece)), int(size/piece))
	}
	var window bytes.Buffer
	w, err := zstd.NewWriter(&window, zstd.WithWindowSize(zstd.MaxWindowSize))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write([]byte("two bytes and more"))
	// The flush makes the frame begin before its size is known, so that it asks for the whole window.
	if err := errors.Join(err, w.Flush(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return map[string]hostile{
		"100 MB":                           {"", make([]byte, 100<<20), http.StatusRequestEntityTooLarge, codes.ResourceExhausted},
		"10 GB in 10 MB of gzip":           {"gzip", bomb("gzip", 10<<30), http.StatusRequestEntityTooLarge, codes.ResourceExhausted},
		"1 GB in 1 MB of gzip":             {"gzip", bomb("gzip", 1<<30), http.StatusRequestEntityTooLarge, codes.ResourceExhausted},
		"1 GB in zstd":                     {"zstd", bomb("zstd", 1<<30), http.StatusRequestEntityTooLarge, codes.ResourceExhausted},
		"zstd with a window of 512 MiB":    {"zstd", window.Bytes(), http.StatusBadRequest, codes.Internal},
		"what says that it is gzip":        {"gzip", []byte("no"), http.StatusBadRequest, codes.Internal},
		"what says that it is zstd":        {"zstd", []byte("no"), http.StatusBadRequest, codes.Internal},
		"a compression that nobody speaks": {"lzma", []byte("no"), http.StatusBadRequest, codes.Unimplemented},
	}
}

// jsonOf is a request of one record after the other, of about this size.
func jsonOf(record string, size int) []byte {
	const head, tail = `{"resourceLogs":[{"scopeLogs":[{"logRecords":[`, `{}]}]}]}`
	return []byte(head + strings.Repeat(record, (size-len(head)-len(tail))/len(record)) + tail)
}

// newCaller speaks HTTP/2 over one connection of its own.
func newCaller() *http.Transport {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{Protocols: protocols}
}

// callPacked sends a message that is compressed already, which gRPC's own client
// cannot, and returns the status of the answer.
func callPacked(ctx context.Context, caller *http.Transport, address, encoding string, message io.Reader, size int) error {
	head := binary.BigEndian.AppendUint32([]byte{0}, uint32(size))
	if encoding != "" {
		head[0] = 1
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/"+logsServiceName+"/Export", io.MultiReader(bytes.NewReader(head), message))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	if encoding != "" {
		request.Header.Set("grpc-encoding", encoding)
	}
	answer, err := caller.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	for _, header := range []http.Header{answer.Trailer, answer.Header} {
		if code, err := strconv.Atoi(header.Get("grpc-status")); err == nil {
			return status.Error(codes.Code(code), header.Get("grpc-message"))
		}
	}
	return errors.New("the answer has no grpc-status")
}

func (r *running) callPacked(encoding string, body []byte) error {
	caller := newCaller()
	defer caller.CloseIdleConnections()
	return callPacked(context.Background(), caller, r.grpc, encoding, bytes.NewReader(body), len(body))
}

// TestRequestsThatNeverEnd: a sender that is gone in the middle of a request does
// not keep its room.
func TestRequestsThatNeverEnd(t *testing.T) {
	telemetry, err := metadata.NewTelemetry(componenttest.NewNopTelemetrySettings())
	if err != nil {
		t.Fatal(err)
	}
	observer, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{ReceiverID: component.NewID(metadata.Type),
		ReceiverCreateSettings: receivertest.NewNopSettings(metadata.Type)})
	if err != nil {
		t.Fatal(err)
	}
	in := &intake{telemetry: telemetry, budget: newBudget(4<<20, 4<<20)}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	byGRPC, byHTTP := listen(), listen()
	grpcServed := grpc.NewServer(grpc.ForceServerCodecV2(wireCodec{}))
	grpcServed.RegisterService(&logsService, &grpcServer{intake: in, observer: observer, door: newDoor(byGRPC), largest: 4 << 20, receipt: 50 * time.Millisecond})
	serving.Go(func() { _ = grpcServed.Serve(byGRPC) })
	defer grpcServed.Stop()
	httpServed := &http.Server{Handler: &httpServer{intake: in, observer: observer, door: newDoor(byHTTP), largest: 4 << 20, receipt: 50 * time.Millisecond}}
	serving.Go(func() { _ = httpServed.Serve(byHTTP) })
	defer httpServed.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	caller := newCaller()
	defer caller.CloseIdleConnections()
	if err := callPacked(ctx, caller, byGRPC.Addr().String(), "", stalling(ctx, make([]byte, 1000)), 2000); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("gRPC: %v, want DeadlineExceeded", err)
	}
	client := &http.Transport{}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+byHTTP.Addr().String(), stalling(ctx, make([]byte, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", protobufType)
	answer, err := client.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("HTTP: %s, want 503", answer.Status)
	}
	cancel()
	testbin.Eventually(t, time.Minute, func() string {
		if !in.budget.all.bytes.TryAcquire(in.budget.limit) {
			return "the requests keep their room"
		}
		return ""
	})
}

// stalling is a body that never ends.
func stalling(ctx context.Context, body []byte) io.Reader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	return io.MultiReader(bytes.NewReader(body), r)
}

// collector is a built collector whose memory is watched.
type collector struct {
	*testbin.Program
	grpc, http, health, metrics string
}

// mostMemory, in MiB, is what README.md says of 16 MiB in flight.
const mostMemory = 10*16 + 128

// startCollector runs netview-collector with room for 16 MiB in flight.
func startCollector(t *testing.T, ch *testch.Server) *collector {
	t.Helper()
	c := &collector{grpc: testbin.FreeAddress(t), http: testbin.FreeAddress(t), health: testbin.FreeAddress(t), metrics: testbin.FreeAddress(t)}
	_, port, _ := net.SplitHostPort(c.metrics)
	file := filepath.Join(t.TempDir(), "limit.yaml")
	if err := os.WriteFile(file, []byte("receivers: {netview: {max_in_flight_mib: 16}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Program = testbin.Start(t, "netview-collector", []string{
		"NETVIEW_CLICKHOUSE_DSN=" + ch.DSN(engine.Writer), "NETVIEW_CLICKHOUSE_OWNER_DSN=" + ch.DSN(engine.Owner),
		"NETVIEW_OTLP_GRPC_ENDPOINT=" + c.grpc, "NETVIEW_OTLP_HTTP_ENDPOINT=" + c.http,
		"NETVIEW_HEALTH_ENDPOINT=" + c.health, "NETVIEW_COLLECTOR_METRICS_PORT=" + port,
	}, "--config", "../deploy/collector.yaml", "--config", file)
	c.untilIdle(t)
	return c
}

// untilIdle waits until it is healthy and has answered every request.
func (c *collector) untilIdle(t *testing.T) {
	t.Helper()
	testbin.Eventually(t, time.Minute, func() string {
		answer, err := http.Get("http://" + c.health + "/")
		if err != nil {
			return err.Error()
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return "the collector's health is " + answer.Status
		}
		if answer, err = http.Get("http://" + c.metrics + "/metrics"); err != nil {
			return err.Error()
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			return err.Error()
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "netview_receiver_in_flight") || strings.HasPrefix(line, "otelcol_netview_receiver_in_flight") {
				if strings.HasSuffix(line, " 0\n") {
					return ""
				}
				return "requests are not answered: " + line
			}
		}
		return "the collector's metrics have no in_flight:\n" + string(text)
	})
}

// peak is the most memory that the collector ever had, in MiB.
func (c *collector) peak(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

// TestMemoryIsBounded sends a collector much more than it has room for, while
// ClickHouse stands still, so that nothing leaves it.
func TestMemoryIsBounded(t *testing.T) {
	ch := testch.Start(t)
	request := plogotlp.NewExportRequestFromLogs(event.Encode(snapshot(7500, time.Now())))
	valid, err := request.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	if len(valid) < 3<<20 || len(valid) > 4<<20 {
		t.Fatalf("the request has %d bytes, want nearly 4 MiB", len(valid))
	}
	inGzip, inZstd := compress(t, "gzip", valid), compress(t, "zstd", valid)
	json, err := request.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}

	// many connections send many requests each, all at once: 1 GiB. Those that are
	// not answered in a while are called off.
	const connections, streams = 16, 16
	many := func(t *testing.T, send func(ctx context.Context, caller *http.Transport) error) {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		var senders sync.WaitGroup
		for range connections {
			caller := newCaller()
			defer caller.CloseIdleConnections()
			for range streams {
				senders.Go(func() { _ = send(ctx, caller) }) // any answer will do, TestOverload has them
			}
		}
		senders.Wait()
	}
	post := func(ctx context.Context, c *collector, encoding, contentType string, body io.Reader) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.http+"/v1/logs", body)
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", contentType)
		if encoding != "" {
			r.Header.Set("Content-Encoding", encoding)
		}
		client := &http.Transport{}
		defer client.CloseIdleConnections()
		answer, err := client.RoundTrip(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body)
		return err
	}
	c := startCollector(t, ch)
	attacks := []struct {
		name string
		send func(t *testing.T)
	}{
		{"valid requests by gRPC", func(t *testing.T) {
			many(t, func(ctx context.Context, caller *http.Transport) error {
				return callPacked(ctx, caller, c.grpc, "", bytes.NewReader(valid), len(valid))
			})
		}},
		{"requests that stop a byte short, by gRPC", func(t *testing.T) {
			many(t, func(ctx context.Context, caller *http.Transport) error {
				return callPacked(ctx, caller, c.grpc, "", stalling(ctx, valid[1:]), len(valid))
			})
		}},
		{"requests that stop a byte short, by HTTP", func(t *testing.T) {
			many(t, func(ctx context.Context, _ *http.Transport) error {
				return post(ctx, c, "", protobufType, stalling(ctx, valid[1:]))
			})
		}},
		{"valid requests in gzip, by gRPC", func(t *testing.T) {
			many(t, func(ctx context.Context, caller *http.Transport) error {
				return callPacked(ctx, caller, c.grpc, "gzip", bytes.NewReader(inGzip), len(inGzip))
			})
		}},
		{"valid requests in zstd, by HTTP", func(t *testing.T) {
			many(t, func(ctx context.Context, _ *http.Transport) error {
				return post(ctx, c, "zstd", protobufType, bytes.NewReader(inZstd))
			})
		}},
		{"valid requests in JSON", func(t *testing.T) {
			many(t, func(ctx context.Context, _ *http.Transport) error {
				return post(ctx, c, "", jsonType, bytes.NewReader(json))
			})
		}},
		{"empty records in JSON", func(t *testing.T) {
			empty := jsonOf("{},", 256<<10)
			many(t, func(ctx context.Context, _ *http.Transport) error {
				return post(ctx, c, "", jsonType, bytes.NewReader(empty))
			})
		}},
		{"hostile bodies", func(t *testing.T) {
			caller := newCaller()
			defer caller.CloseIdleConnections()
			for _, body := range hostileBodies(t) {
				var senders sync.WaitGroup
				for range 8 {
					senders.Go(func() {
						_ = callPacked(context.Background(), caller, c.grpc, body.encoding, bytes.NewReader(body.body), len(body.body))
					})
					senders.Go(func() { _ = post(context.Background(), c, body.encoding, protobufType, bytes.NewReader(body.body)) })
				}
				senders.Wait()
			}
		}},
	}
	before := c.peak(t)
	for _, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			if err := syscall.Kill(ch.PID(), syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			proceed := func() { _ = syscall.Kill(ch.PID(), syscall.SIGCONT) }
			defer proceed()
			attack.send(t)
			peak := c.peak(t)
			t.Logf("%d MiB of memory at the start, %d at the peak", before, peak)
			if peak > before+mostMemory {
				t.Errorf("the collector took %d MiB, and before it was asked %d: want at most %d more", peak, before, mostMemory)
			}
			proceed()
			c.untilIdle(t)
		})
	}
	c.Stop()
}
