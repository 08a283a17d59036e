package sensor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/internal/testproc"
	_ "github.com/netview-project/netview/internal/testzstd"
	"github.com/netview-project/netview/sensor/deliver"
)

// collector is an OTLP/gRPC logs service that keeps what it gets.
type collector struct {
	plogotlp.UnimplementedGRPCServer
	endpoint string

	mutex   sync.Mutex
	faults  []error
	records []event.Event
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{endpoint: "grpc://" + listener.Addr().String()}
	server := grpc.NewServer()
	plogotlp.RegisterGRPCServer(server, c)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return c
}

func (c *collector) Export(_ context.Context, request plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	body, err := request.MarshalProto()
	if err == nil {
		err = event.NewDecoder().Decode(body, func(r event.Record) {
			if r.Err != nil {
				c.faults = append(c.faults, r.Err)
				return
			}
			c.records = append(c.records, r.Event)
		})
	}
	if err != nil {
		c.faults = append(c.faults, err)
	}
	return plogotlp.NewExportResponse(), nil
}

// snapshots are the complete ones, by number from 0, and each record's sequence.
func (c *collector) snapshots() (list []*event.Snapshot, sequences []uint64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	found := map[uint64]*event.Snapshot{}
	at := func(number uint64) *event.Snapshot {
		if found[number] == nil {
			found[number] = &event.Snapshot{}
		}
		return found[number]
	}
	for _, e := range c.records {
		sequences = append(sequences, e.Env().Sequence)
		switch e := e.(type) {
		case *event.Connection:
			at(e.Heartbeat).Connections = append(at(e.Heartbeat).Connections, e)
		case *event.Listener:
			at(e.Heartbeat).Listeners = append(at(e.Heartbeat).Listeners, e)
		case *event.Heartbeat:
			at(e.Heartbeat).Heartbeat = e
		}
	}
	for number := uint64(1); found[number] != nil && found[number].Heartbeat != nil; number++ {
		list = append(list, found[number])
	}
	return list, sequences
}

// within opens sockets in a namespace: a listener, a UDP one, and a connection
// with both its ends. They last until the test ends.
func within(t *testing.T, ns *testns.NS) (tcp, udp, client netip.AddrPort) {
	t.Helper()
	ns.Do(t, func() error {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		packets, err := net.ListenPacket("udp", "[::1]:2152")
		if err != nil {
			return err
		}
		dialed, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		accepted, err := listener.Accept()
		if err != nil {
			return err
		}
		t.Cleanup(func() { listener.Close(); packets.Close(); dialed.Close(); accepted.Close() })
		tcp, udp, client = netip.MustParseAddrPort(listener.Addr().String()), netip.MustParseAddrPort(packets.LocalAddr().String()), netip.MustParseAddrPort(dialed.LocalAddr().String())
		return nil
	})
	return tcp, udp, client
}

// TestFromSocketsToTheCollector runs the whole sensor on this host, with a
// namespace that only a mount holds.
func TestFromSocketsToTheCollector(t *testing.T) {
	ns := testns.New(t)
	tcp, udp, client := within(t, ns)
	c := startCollector(t)
	s, err := New(Config{SensorID: "end", Interval: time.Second, Spool: deliver.DefaultOptions(), Proc: "/proc", Endpoint: c.endpoint, Version: "1.2.3"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	eventually := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				c.mutex.Lock()
				defer c.mutex.Unlock()
				t.Fatalf("never: %s; %d records, faults %v", what, len(c.records), c.faults)
			}
		}
	}
	complete := func(n int) func() bool {
		return func() bool {
			// What the exporter does, while the same heartbeat is being sent.
			if snapshot := s.State().Snapshot; snapshot != nil {
				_ = fmt.Sprint(*snapshot.Heartbeat)
			}
			list, _ := c.snapshots()
			return len(list) >= n
		}
	}
	eventually("a first complete snapshot", complete(1))
	var late net.Conn
	ns.Do(t, func() (err error) {
		late, err = net.Dial("tcp", tcp.String())
		return err
	})
	defer late.Close()
	list, _ := c.snapshots()
	eventually("two more", complete(len(list)+2))

	list, sequences := c.snapshots()
	if len(c.faults) > 0 {
		t.Errorf("the records do not decode: %v", c.faults)
	}
	slices.Sort(sequences)
	for i, sequence := range sequences[:list[len(list)-1].Heartbeat.Sequence] {
		if sequence != uint64(i+1) {
			t.Fatalf("sequence %d at place %d", sequence, i+1)
		}
	}
	for _, snapshot := range list {
		h, listeners := snapshot.Heartbeat, map[string]uint64{}
		for _, l := range snapshot.Listeners {
			listeners[l.Transport]++
		}
		if h.Connections != uint64(len(snapshot.Connections)) || h.TCPListeners != listeners["tcp"] || h.UDPListeners != listeners["udp"] || h.Namespaces < 2 {
			t.Errorf("heartbeat %d counts %d connections, %d and %d listeners in %d namespaces; there are %d and %v",
				h.Heartbeat, h.Connections, h.TCPListeners, h.UDPListeners, h.Namespaces, len(snapshot.Connections), listeners)
		}
		if h.SensorID != "end" || h.Session != s.Resource().Session || h.Version != "1.2.3" {
			t.Errorf("heartbeat %d is of %+v", h.Heartbeat, h.Resource)
		}
	}

	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	own := func(p event.Process) string {
		if p.PID.Value == uint32(os.Getpid()) && p.Binary == binary && p.User == me.Username && p.Name != "" {
			return "own"
		}
		return fmt.Sprintf("%+v", p)
	}
	last := list[len(list)-1]
	for _, r := range last.Connections {
		if r.Netns != ns.Inode {
			continue
		}
		if isLate := r.LocalPort == netip.MustParseAddrPort(late.LocalAddr().String()).Port() || r.RemotePort == netip.MustParseAddrPort(late.LocalAddr().String()).Port(); isLate {
			if !r.Duration.Known || r.DurationSource != event.SourceFirstSeen {
				t.Errorf("the connection that began after the sensor is of unknown age: %+v", r)
			}
			continue
		}
		got = append(got, fmt.Sprintf("%s:%d > %s:%d %s %s %s %t", r.LocalAddress, r.LocalPort, r.RemoteAddress, r.RemotePort, r.State, r.Direction, own(r.Process), r.Duration.Known))
	}
	for _, l := range last.Listeners {
		if l.Netns == ns.Inode {
			got = append(got, fmt.Sprintf("%s %s:%d %s %t", l.Transport, l.LocalAddress, l.LocalPort, own(l.Process), l.Ephemeral))
		}
	}
	want := []string{
		fmt.Sprintf("%s > %s established inbound own false", tcp, client),
		fmt.Sprintf("%s > %s established outbound own false", client, tcp),
		fmt.Sprintf("tcp %s own false", tcp),
		fmt.Sprintf("udp %s:%d own false", udp.Addr(), udp.Port()),
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestRunFailsWithACollectorToo: a sensor that can read nothing says so and
// ends; its queue must not keep it.
func TestRunFailsWithACollectorToo(t *testing.T) {
	s, err := New(Config{SensorID: "s", Interval: time.Second, Spool: deliver.DefaultOptions(), Proc: t.TempDir(), Endpoint: startCollector(t).endpoint}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background()) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), s.config.Proc) || !strings.Contains(err.Error(), "procfs") {
			t.Errorf("it ends with %v, want the directory and what should be there", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
}

// TestSensorIDFromTheHostsName, in a UTS namespace of its own.
func TestSensorIDFromTheHostsName(t *testing.T) {
	ns := testns.New(t)
	for name, want := range map[string]string{"web-1.example": "web-1.example", "WEB": "web", "(none)": "", "büro": "", strings.Repeat("x", 64): strings.Repeat("x", 64)} {
		ns.Do(t, func() error {
			// The thread is thrown away afterwards.
			if err := errors.Join(unix.Unshare(unix.CLONE_NEWUTS), unix.Sethostname([]byte(name))); err != nil {
				return err
			}
			s, err := New(Config{Interval: time.Second, Spool: deliver.DefaultOptions(), Proc: "/proc"}, slog.New(slog.DiscardHandler))
			switch {
			case want == "" && (err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "--sensor-id")):
				t.Errorf("host name %q: %v, want a word on it and on the flag", name, err)
			case want != "" && err != nil:
				t.Errorf("host name %q: %v", name, err)
			case want != "" && (s.Resource().SensorID != want || s.Resource().HostName != name):
				t.Errorf("host name %q: %+v", name, s.Resource())
			}
			return nil
		})
	}
}

// TestStateIsNotTheSensors: who gets the state may do with it what it likes.
func TestStateIsNotTheSensors(t *testing.T) {
	h := testproc.New(t)
	h.Write()
	s, err := New(Config{SensorID: "s", Interval: time.Second, Spool: deliver.DefaultOptions(), Proc: h.Proc, Endpoint: "grpc://127.0.0.1:9"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.client.Close()
	spool, err := s.openSpool()
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	if err := s.beat(); err != nil {
		t.Fatal(err)
	}
	s.State().Losses["snapshot_superseded"] = 99
	if n := s.State().Losses["snapshot_superseded"]; n != 0 {
		t.Errorf("%d records are superseded, by a change of an earlier state", n)
	}
}
