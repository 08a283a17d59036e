package deliver

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/event"
	_ "github.com/netview-project/netview/internal/testzstd"
)

const patience = 30 * time.Second

// collector is an OTLP logs service, gRPC or HTTP, that answers as it is told.
type collector struct {
	plogotlp.UnimplementedGRPCServer
	endpoint string

	mutex    sync.Mutex
	requests int
	accepted []plog.Logs
	// answer is asked for each request, counted from 1; nil accepts. A number is
	// how many records are rejected by partial success.
	answer func(n int, logs plog.Logs) (rejected int64, err error)
	sent   []string
	arrive chan struct{} // a value for each answer that was given
	stop   func()        // ends it at once, with the requests it has
}

func (c *collector) take(logs plog.Logs, sent string) (response plogotlp.ExportResponse, err error) {
	c.mutex.Lock()
	c.requests++
	n, answer := c.requests, c.answer
	c.sent = append(c.sent, sent)
	c.mutex.Unlock()
	defer func() { c.arrive <- struct{}{} }()
	response = plogotlp.NewExportResponse()
	if answer != nil {
		rejected, err := answer(n, logs)
		if err != nil {
			return response, err
		}
		response.PartialSuccess().SetRejectedLogRecords(rejected)
	}
	copied := plog.NewLogs()
	logs.CopyTo(copied)
	c.mutex.Lock()
	c.accepted = append(c.accepted, copied)
	c.mutex.Unlock()
	return response, nil
}

func (c *collector) Export(ctx context.Context, request plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	return c.take(request.Logs(), strings.Join(metadata.ValueFromIncomingContext(ctx, sentHeader), ","))
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if r.Header.Get("Content-Encoding") == zstdName && err == nil {
		body, err = decompressor.DecodeAll(body, nil)
	}
	request := plogotlp.NewExportRequest()
	if err == nil {
		err = request.UnmarshalProto(body)
	}
	if err != nil || r.URL.Path != "/v1/logs" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	response, err := c.take(request.Logs(), r.Header.Get(sentHeader))
	if err != nil {
		if delay := retryDelay(err); delay > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(delay.Seconds())))
		}
		http.Error(w, err.Error(), map[codes.Code]int{codes.Unavailable: http.StatusServiceUnavailable, codes.ResourceExhausted: http.StatusTooManyRequests,
			codes.InvalidArgument: http.StatusBadRequest, codes.PermissionDenied: http.StatusForbidden}[status.Code(err)])
		return
	}
	text, _ := response.MarshalProto()
	_, _ = w.Write(text)
}

// records are what was accepted, as kind and sequence in the order of arrival.
func (c *collector) records() (kinds []string, sequences []int64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, logs := range c.accepted {
		for _, record := range logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
			sequence, _ := record.Attributes().Get(event.AttrSequence)
			kinds, sequences = append(kinds, record.EventName()), append(sequences, sequence.Int())
		}
	}
	return kinds, sequences
}

// startCollector serves OTLP on an address, or on a free one.
func startCollector(t *testing.T, protocol, address string) *collector {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{endpoint: protocol + "://" + listener.Addr().String(), arrive: make(chan struct{}, 10_000)}
	switch protocol {
	case "grpc":
		server := grpc.NewServer()
		plogotlp.RegisterGRPCServer(server, c)
		go server.Serve(listener)
		c.stop = server.Stop
	case "http":
		server := &http.Server{Handler: c}
		go server.Serve(listener)
		c.stop = func() { server.Close() }
	}
	t.Cleanup(c.stop)
	return c
}

// options of a spool that sends to an endpoint.
func options(t testing.TB, endpoint string) Options {
	t.Helper()
	client, err := NewClient(endpoint, Security{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	o := DefaultOptions()
	o.Client, o.Resource, o.Dir, o.Log = client, event.Resource{SensorID: "s", Session: session}, t.TempDir(), slog.New(slog.DiscardHandler)
	o.RequestTimeout = patience
	return o
}

// open opens a spool that is closed at the end of the test.
func open(t testing.TB, o Options) *Spool {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run sends until the returned function, or the end of the test, ends it in
// good order.
func run(t testing.TB, s *Spool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait() // hangs, and fails by the test's timeout, where Run does not end with its context
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// startSpool sends to an endpoint until the test ends.
func startSpool(t *testing.T, endpoint string) *Spool {
	t.Helper()
	s := open(t, options(t, endpoint))
	run(t, s)
	return s
}

// session is that of the child process too.
var session = func() uuid.UUID {
	if id, err := uuid.Parse(os.Getenv("NETVIEW_TEST_SESSION")); err == nil {
		return id
	}
	return uuid.New()
}()

var discard = slog.New(slog.DiscardHandler)

// snapshot has n connections and is told apart by its number.
func snapshot(number uint64, n int) *event.Snapshot {
	envelope := event.Envelope{Resource: event.Resource{SensorID: "s", Session: session}, Timestamp: time.Unix(1_800_000_000+int64(number), 0).UTC()}
	s := &event.Snapshot{Heartbeat: &event.Heartbeat{Envelope: envelope, Heartbeat: number, Connections: uint64(n), Mode: event.ModeCompatibility}}
	for range n {
		s.Connections = append(s.Connections, &event.Connection{Envelope: envelope, Heartbeat: number, Family: "ipv6", State: "established", Direction: event.DirectionUnknown,
			LocalAddress: netip.IPv6Loopback(), RemoteAddress: netip.IPv6Loopback()})
	}
	return s
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

func (q *Spool) acknowledgedNumber() uint64 {
	if at := q.Status().Acknowledged; !at.IsZero() {
		return uint64(at.Unix() - 1_800_000_000)
	}
	return 0
}

func inBothProtocols(t *testing.T, f func(t *testing.T, protocol string)) {
	for _, protocol := range []string{"grpc", "http"} {
		t.Run(protocol, func(t *testing.T) { f(t, protocol) })
	}
}

// TestSnapshotsArriveWhole: cut into requests, every sequence number once, the
// heartbeat last, the time of sending outside the records.
func TestSnapshotsArriveWhole(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol string) {
		c := startCollector(t, protocol, "")
		q := startSpool(t, c.endpoint)
		const rows = 2*recordsPerRequest + 1
		before := time.Now()
		q.AppendSnapshot(snapshot(1, rows))
		eventually(t, "the first heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 1 })
		q.AppendSnapshot(snapshot(2, 0))
		eventually(t, "both heartbeats acknowledged", func() bool { return q.acknowledgedNumber() == 2 })
		kinds, sequences := c.records()
		if kinds[rows] != event.KindHeartbeat.EventName() || len(kinds) != rows+2 || slices.Index(kinds, event.KindHeartbeat.EventName()) != rows {
			t.Errorf("%d records, the first heartbeat at %d; want it after %d rows", len(kinds), slices.Index(kinds, event.KindHeartbeat.EventName()), rows)
		}
		slices.Sort(sequences)
		for i, sequence := range sequences {
			if sequence != int64(i+1) {
				t.Fatalf("sequence %d at place %d", sequence, i)
			}
		}
		if c.requests != 5 {
			t.Errorf("%d requests, want 3 of rows and 2 of a heartbeat", c.requests)
		}
		for _, text := range c.sent {
			nanos, err := strconv.ParseInt(text, 10, 64)
			if sent := time.Unix(0, nanos); err != nil || sent.Before(before) || sent.After(time.Now()) {
				t.Errorf("%s is %q", sentHeader, text)
			}
		}
		eventually(t, "nothing left", func() bool { return q.Status().Waiting == 0 })
		if status := q.Status(); status.Losses()[CauseRefused] != 0 || status.Losses()[CauseSuperseded] != 0 {
			t.Errorf("status %+v", status)
		}
	})
}

// TestHeartbeatWaitsForEveryRow: a stored heartbeat must mean a complete snapshot.
func TestHeartbeatWaitsForEveryRow(t *testing.T) {
	c := startCollector(t, "grpc", "")
	release := make(chan struct{})
	c.answer = func(n int, logs plog.Logs) (int64, error) {
		if n == 1 {
			<-release // one request of rows is slow
		}
		return 0, nil
	}
	q := startSpool(t, c.endpoint)
	q.AppendSnapshot(snapshot(1, 3*recordsPerRequest))
	for range 2 {
		<-c.arrive // the other two are answered
	}
	time.Sleep(100 * time.Millisecond) // time in which a heartbeat could come by mistake
	if kinds, _ := c.records(); slices.Contains(kinds, event.KindHeartbeat.EventName()) || q.acknowledgedNumber() != 0 {
		t.Error("the heartbeat was sent before its last rows were acknowledged")
	}
	close(release)
	eventually(t, "the heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 1 })
}

// TestRetries: whatever may pass is sent again, unchanged, until it is taken.
func TestRetries(t *testing.T) {
	t.Parallel()
	overloaded := withRetryDelay(status.New(codes.ResourceExhausted, "too much in flight"), time.Second).Err()
	for name, refusal := range map[string]error{
		"unavailable": status.Error(codes.Unavailable, "ClickHouse is not ready"),
		"overloaded":  overloaded,
		// A refusal for identity may be a mistake that somebody mends.
		"not allowed": status.Error(codes.PermissionDenied, "who are you"),
	} {
		t.Run(name, func(t *testing.T) {
			inBothProtocols(t, func(t *testing.T, protocol string) {
				c := startCollector(t, protocol, "")
				c.answer = func(n int, _ plog.Logs) (int64, error) {
					if n <= 2 {
						return 0, refusal
					}
					return 0, nil
				}
				q := startSpool(t, c.endpoint)
				q.AppendSnapshot(snapshot(1, 3))
				eventually(t, "the heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 1 })
				if _, sequences := c.records(); !slices.Equal(sequences, []int64{1, 2, 3, 4}) {
					t.Errorf("arrived: %v", sequences)
				}
				if losses(q)[CauseRefused] != 0 {
					t.Errorf("losses %v", losses(q))
				}
			})
		})
	}
}

// TestCollectorAsksForTime: the sender waits as long as it is asked to.
func TestCollectorAsksForTime(t *testing.T) {
	t.Parallel()
	inBothProtocols(t, func(t *testing.T, protocol string) {
		c := startCollector(t, protocol, "")
		var times []time.Time
		c.answer = func(n int, _ plog.Logs) (int64, error) {
			times = append(times, time.Now())
			if n == 1 {
				return 0, withRetryDelay(status.New(codes.ResourceExhausted, "later"), 2*time.Second).Err()
			}
			return 0, nil
		}
		q := startSpool(t, c.endpoint)
		q.AppendSnapshot(snapshot(1, 0))
		eventually(t, "the heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 1 })
		// The least that was asked is no measure of speed: it is what must not be undercut.
		if waited := times[1].Sub(times[0]); waited < 2*time.Second {
			t.Errorf("sent again after %v, was asked to wait 2s", waited)
		}
	})
}

// TestRefusals: what is refused for good is counted and blocks nothing, and its
// heartbeat is not sent.
func TestRefusals(t *testing.T) {
	want := map[string]uint64{"whole": 4, "in part": 2}
	for name, answer := range map[string]func(n int, _ plog.Logs) (int64, error){
		"whole": func(n int, _ plog.Logs) (int64, error) {
			if n == 1 {
				return 0, status.Error(codes.InvalidArgument, "not OTLP")
			}
			return 0, nil
		},
		"in part": func(n int, _ plog.Logs) (int64, error) {
			if n == 1 {
				return 1, nil
			}
			return 0, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBothProtocols(t, func(t *testing.T, protocol string) {
				c := startCollector(t, protocol, "")
				c.answer = answer
				q := startSpool(t, c.endpoint)
				q.AppendSnapshot(snapshot(1, 3))
				eventually(t, "the first settled", func() bool { return losses(q)[CauseRefused] > 1 })
				q.AppendSnapshot(snapshot(2, 1))
				eventually(t, "the second heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 2 })
				if n := losses(q)[CauseRefused]; n != want[name] {
					t.Errorf("%d records counted as refused, want %d: the heartbeat and the rows that were refused", n, want[name])
				}
				if kept, err := filepath.Glob(filepath.Join(q.options.Dir, refusedDir, "*.txt")); err != nil || len(kept) != 1 {
					t.Errorf("put aside: %v, want one request", kept)
				}
				if kinds, sequences := c.records(); slices.Contains(sequences, 4) {
					t.Errorf("the heartbeat of an incomplete snapshot was sent: %v %v", kinds, sequences)
				}
			})
		})
	}
}

// TestCollectorAppears: nobody listens at first.
func TestCollectorAppears(t *testing.T) {
	t.Parallel()
	inBothProtocols(t, func(t *testing.T, protocol string) {
		placeholder, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := placeholder.Addr().String()
		placeholder.Close()
		q := startSpool(t, protocol+"://"+address)
		q.AppendSnapshot(snapshot(1, 2))
		time.Sleep(50 * time.Millisecond) // an attempt or two without a collector
		c := startCollector(t, protocol, address)
		eventually(t, "the heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 1 })
		if _, sequences := c.records(); !slices.Equal(sequences, []int64{1, 2, 3}) {
			t.Errorf("arrived: %v", sequences)
		}
	})
}

func TestEndpoints(t *testing.T) {
	for endpoint, good := range map[string]bool{
		"grpc://127.0.0.1:4317": true, "grpc://collector:4317": true, "http://127.0.0.1:4318": true, "http://127.0.0.1:4318/": true, "grpc://[::1]:4317": true,
		"grpc://[fe80::1%25lo]:4317": true, "http://[fe80::1%25lo]:4318": true, "grpc://unix:4317": true, "http://collector:80": true,
		// gRPC would try port 443.
		"grpc://collector": false, "http://collector": false, "grpc://collector:": false, "grpc://collector:0": false, "grpc://collector:70000": false,
		// What would be ignored in silence.
		"http://h:4318?tenant=a": false, "http://user:secret@h:4318": false, "grpc://h:4317#a": false,
		"": false, "127.0.0.1:4317": false, "https://h:4318": true, "grpcs://h:4317": true, "grpcs://h": false, "http://h:4318/v1/logs": false, "grpc://": false, "ftp://h": false, "://": false,
	} {
		client, err := NewClient(endpoint, Security{})
		if (err == nil) != good {
			t.Errorf("%q: %v", endpoint, err)
		}
		if err == nil {
			client.Close()
		} else if !strings.Contains(err.Error(), strconv.Quote(endpoint)) || !strings.Contains(err.Error(), "grpc://HOST:4317") {
			t.Errorf("%q: the error %q does not name it and the remedy", endpoint, err)
		}
	}
}

// flows are events, each with a number of its own as its source port.
func flows(n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = &event.NetworkFlow{Envelope: event.Envelope{Resource: event.Resource{SensorID: "s", Session: session}, Timestamp: time.Unix(1_800_000_000, 0).UTC()},
			Ends: event.Ends{Netns: 1, Transport: "tcp", Family: "ipv4", SourceAddress: netip.MustParseAddr("192.0.2.1"), SourcePort: uint16(i),
				DestinationAddress: netip.MustParseAddr("198.51.100.77"), DestinationPort: 443},
			Direction: event.DirectionOutbound, DirectionSource: "connect", BytesSent: event.Some(uint64(i)), BytesReceived: event.Some(uint64(4711)), FinalState: event.FinalEstablished, FinalDetail: "fin",
			Process:  event.Process{PID: event.Some(uint32(4711)), Binary: "/usr/sbin/nginx", Name: "nginx", User: "www-data"},
			Duration: event.Some(90 * time.Millisecond), DurationSource: "connect"}
	}
	return events
}

func losses(s *Spool) map[string]uint64 {
	status := s.Status()
	return status.Losses()
}

func sumLosses(status event.Delivery) (total uint64) {
	for _, n := range status.Losses() {
		total += n
	}
	return total
}
