package deliver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/event"
)

// proxy passes connections on to a collector, as long as it is told to.
type proxy struct {
	address string
	// pass is asked for each connection, counted from 1: whether it is passed on.
	pass func(n int) bool
	// frozen: connections so far stay open, and nothing goes through any more.
	frozen atomic.Int64
}

func startProxy(t *testing.T, to string, pass func(n int) bool) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p := &proxy{address: listener.Addr().String(), pass: pass}
	go func() {
		for n := int64(1); ; n++ {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { client.Close() })
			if pass != nil && !pass(int(n)) {
				// It takes part of a request, and resets.
				_, _ = client.Read(make([]byte, 100))
				_ = client.(*net.TCPConn).SetLinger(0)
				client.Close()
				continue
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			t.Cleanup(func() { server.Close() })
			go p.relay(n, server, client)
			go p.relay(n, client, server)
		}
	}()
	return p
}

func (p *proxy) relay(n int64, to io.WriteCloser, from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		read, err := from.Read(buffer)
		if n <= p.frozen.Load() {
			continue // it takes everything, and answers nothing
		}
		if err == nil {
			_, err = to.Write(buffer[:read])
		}
		if err != nil {
			to.Close()
			return
		}
	}
}

// TestCollectorDiesWithARequest: it took the request, and ends before it answers.
func TestCollectorDiesWithARequest(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol string) {
		c := startCollector(t, protocol, "")
		took, release := make(chan struct{}, 100), make(chan struct{})
		defer close(release)
		c.answer = func(int, plog.Logs) (int64, error) {
			took <- struct{}{}
			<-release
			return 0, status.Error(codes.Unavailable, "it is dead")
		}
		q := startSpool(t, c.endpoint)
		keep(q, snapshot(1, 3))
		<-took
		c.stop()
		_, address, _ := strings.Cut(c.endpoint, "://")
		next := startCollector(t, protocol, address)
		eventually(t, "the heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 1 })
		if _, sequences := next.records(); !slices.Equal(sequences, []int64{1, 2, 3, 4}) || losses(q)[CauseRefused] != 0 {
			t.Errorf("arrived: %v, losses %v", sequences, losses(q))
		}
	})
}

// TestConnectionIsCut in the middle of a request, twice.
func TestConnectionIsCut(t *testing.T) {
	t.Parallel()
	inBothProtocols(t, func(t *testing.T, protocol string) {
		c := startCollector(t, protocol, "")
		_, address, _ := strings.Cut(c.endpoint, "://")
		p := startProxy(t, address, func(n int) bool { return n > 2 })
		q := startSpool(t, protocol+"://"+p.address)
		keep(q, snapshot(1, 3))
		eventually(t, "the heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 1 })
		if _, sequences := c.records(); !slices.Equal(sequences, []int64{1, 2, 3, 4}) || losses(q)[CauseRefused] != 0 {
			t.Errorf("arrived: %v, losses %v", sequences, losses(q))
		}
	})
}

// TestFrozenConnection: a collector that is gone without a word, behind a
// firewall that forgot the connection, costs that connection, not the records.
func TestFrozenConnection(t *testing.T) {
	if testing.Short() {
		t.Skip("gRPC asks whether a connection is alive every 10 s at most")
	}
	defer func(before keepalive.ClientParameters) { alive = before }(alive)
	alive = keepalive.ClientParameters{Time: 10 * time.Second, Timeout: time.Second}
	inBothProtocols(t, func(t *testing.T, protocol string) {
		c := startCollector(t, protocol, "")
		_, address, _ := strings.Cut(c.endpoint, "://")
		p := startProxy(t, address, nil)
		q := startSpool(t, protocol+"://"+p.address)
		q.options.RequestTimeout = 2 * time.Second // nothing is sent yet
		keep(q, snapshot(1, 0))
		eventually(t, "the first heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 1 })
		p.frozen.Store(1)
		keep(q, snapshot(2, 0))
		eventually(t, "the second heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 2 })
	})
}

// TestBrokenAnswers: what is no answer may come from anything on the way, and
// says nothing about the records.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	var attempts atomic.Int64
	answers := []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>not OTLP</html>") },
		func(w http.ResponseWriter, _ *http.Request) { // shorter than it says
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte{10})
		},
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		func(http.ResponseWriter, *http.Request) {}, // empty is a whole success
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(attempts.Add(1))
		answers[min(n, len(answers))-1](w, r)
	}))
	defer server.Close()
	q := startSpool(t, server.URL)
	keep(q, snapshot(1, 0))
	eventually(t, "the heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 1 })
	if n := attempts.Load(); n != int64(len(answers)) || losses(q)[CauseRefused] != 0 {
		t.Errorf("%d attempts, want one for each of %d answers; losses %v", n, len(answers), losses(q))
	}
}

// TestStop: Run ends when it is told to, whatever it waits for, and what it
// leaves is not counted as refused.
func TestStop(t *testing.T) {
	for name, answer := range map[string]func(int, plog.Logs) (int64, error){
		"while it waits for an answer": func(int, plog.Logs) (int64, error) { select {} },
		"between two attempts": func(int, plog.Logs) (int64, error) {
			return 0, withRetryDelay(status.New(codes.ResourceExhausted, "later"), time.Hour).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBothProtocols(t, func(t *testing.T, protocol string) {
				c := startCollector(t, protocol, "")
				asked := make(chan struct{}, 100)
				c.answer = func(n int, logs plog.Logs) (int64, error) {
					asked <- struct{}{}
					return answer(n, logs)
				}
				o := options(t, c.endpoint)
				o.RequestTimeout = time.Hour
				q := open(t, o)
				ctx, cancel := context.WithCancel(context.Background())
				ended := make(chan struct{})
				go func() { q.Run(ctx); close(ended) }()
				keep(q, snapshot(1, 1))
				q.AppendEvents(flows(3))
				<-asked
				cancel()
				select {
				case <-ended:
				case <-time.After(longestRetry / 2): // far more than it takes, and less than the next attempt would
					t.Fatal("it does not end")
				}
				if status := q.Status(); sumLosses(status) != 0 || status.Waiting != 1 {
					t.Errorf("status %+v, want nothing lost and one waiting", status)
				}
				if err := q.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestLargeRecords: command lines make records that would not fit into the
// 4 MiB that a gRPC server takes, if as many shared a request as of others.
func TestLargeRecords(t *testing.T) {
	t.Parallel()
	inBothProtocols(t, func(t *testing.T, protocol string) {
		c := startCollector(t, protocol, "")
		q := startSpool(t, c.endpoint)
		s := snapshot(1, RecordsPerRequest)
		for _, connection := range s.Connections {
			connection.Process.CommandLine = strings.Repeat("x", 4<<10)
		}
		keep(q, s)
		eventually(t, "the heartbeat acknowledged", func() bool { return q.acknowledgedNumber() == 1 })
		kinds, sequences := c.records()
		slices.Sort(sequences)
		if len(slices.Compact(sequences)) != RecordsPerRequest+1 || len(kinds) != RecordsPerRequest+1 || kinds[RecordsPerRequest] != event.KindHeartbeat.EventName() {
			t.Errorf("%d records arrived, %d of them different; want %d and the heartbeat", len(kinds), len(slices.Compact(sequences)), RecordsPerRequest)
		}
		for _, logs := range c.accepted {
			if size := new(plog.ProtoMarshaler).LogsSize(logs); size > bytesPerRequest {
				t.Errorf("a request of %d bytes, want %d at most", size, bytesPerRequest)
			}
		}
	})
}

// TestPermanent: what is tried again, by the OTLP specification's tables, and
// what somebody may mend.
func TestPermanent(t *testing.T) {
	again := []codes.Code{codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss, codes.ResourceExhausted,
		codes.PermissionDenied, codes.Unauthenticated, codes.Unknown, codes.Unimplemented, codes.NotFound}
	for code := codes.OK + 1; code <= codes.Unauthenticated; code++ {
		err := status.Error(code, "")
		for _, err := range []error{err, fmt.Errorf("sending: %w", err)} {
			if Permanent(err) == slices.Contains(again, code) {
				t.Errorf("%v: permanent is %t", err, Permanent(err))
			}
		}
	}
	if Permanent(context.DeadlineExceeded) || Permanent(io.ErrUnexpectedEOF) {
		t.Error("what is no answer is permanent")
	}
	againHTTP := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType, http.StatusNotImplemented}
	for code := 300; code < 600; code++ {
		if permanent := Permanent(status.Error(codeOf(code), "")); permanent == slices.Contains(againHTTP, code) {
			t.Errorf("HTTP %d: permanent is %t", code, permanent)
		}
	}
}

// TestOldestOfWhatWaits: what arrived does not count for what waits in the same part.
func TestOldestOfWhatWaits(t *testing.T) {
	t.Parallel()
	c := startCollector(t, "grpc", "")
	var away atomic.Bool
	c.answer = func(int, plog.Logs) (int64, error) {
		if away.Load() {
			return 0, status.Error(codes.Unavailable, "it is away")
		}
		return 0, nil
	}
	o := options(t, c.endpoint)
	q := open(t, o)
	stop := run(t, q)
	waiting := func() event.Lane { return q.Status().Events }
	q.AppendEvents(flows(3))
	eventually(t, "the first events acknowledged", func() bool {
		return q.Status().Delivered[event.KindNetworkFlow] == 3 && waiting().Oldest.IsZero()
	})
	away.Store(true)
	before := time.Now()
	q.AppendEvents(flows(2))
	eventually(t, "the next events wait", func() bool { return waiting().Records == 2 })
	oldest := waiting().Oldest
	if oldest.Before(before) {
		t.Errorf("the oldest that waits is said to be of %v, want after %v", oldest, before)
	}

	// So it is after a restart, by what is on the disk.
	stop()
	q = open(t, o)
	run(t, q)
	eventually(t, "they still wait", func() bool { return waiting().Records == 2 })
	if again := waiting().Oldest; !again.Equal(oldest) {
		t.Errorf("after a restart the oldest that waits is of %v, want %v", again, oldest)
	}
}
