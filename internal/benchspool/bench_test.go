// Package benchspool measures the spool against what a Collector would keep its
// records in: the sending queue of otlpexporter in file_storage, in the same run,
// with the same records, disk and receiver.
package benchspool

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/fleet"
	"github.com/netview-project/netview/sensor/deliver"
)

// recordsPerAppend is what a busy sensor gathers in a moment.
const recordsPerAppend = 1000

// receiver acknowledges every request without a look at it.
type receiver struct {
	endpoint string
	requests atomic.Int64
}

type raw struct{}

func (raw) Name() string { return "proto" }
func (raw) Marshal(any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(nil)}, nil
}
func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }

func startReceiver(b *testing.B) *receiver {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	r := &receiver{endpoint: listener.Addr().String()}
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(nil); err != nil {
			return err
		}
		r.requests.Add(1)
		return stream.SendMsg(nil)
	}))
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(server.Stop)
	return r
}

// nobody is an address where nothing listens.
func nobody(b *testing.B) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// load makes appends of events; the fleet's own, with their envelopes.
func load() [][]event.Event {
	f := &fleet.Fleet{Seed: 1, Sensors: 1, Connections: 100, Short: 600, Start: time.Now().Add(-time.Hour), Interval: 15 * time.Second}
	sensor := f.MakeSensors()[0]
	var load [][]event.Event
	var events []event.Event
	for len(load) < 16 {
		if events = append(events, sensor.Next().Events...); len(events) >= recordsPerAppend {
			load, events = append(load, events[:recordsPerAppend:recordsPerAppend]), events[recordsPerAppend:]
		}
	}
	return load
}

// keeper takes records, and brings them to a receiver.
type keeper interface {
	keep(b *testing.B, events []event.Event)
	stop(b *testing.B)
}

type spool struct {
	*deliver.Spool
	client deliver.Client
	cancel context.CancelFunc
	runs   sync.WaitGroup
}

func startSpool(b *testing.B, dir, endpoint string, resource event.Resource, change func(*deliver.Options)) keeper {
	client, err := deliver.NewClient("grpc://"+endpoint, deliver.Security{})
	if err != nil {
		b.Fatal(err)
	}
	o := deliver.DefaultOptions()
	o.Client, o.Resource, o.Dir, o.Log, o.EventsBytes = client, resource, dir, slog.New(slog.DiscardHandler), 64<<30
	change(&o)
	opened, err := deliver.Open(o)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &spool{Spool: opened, client: client, cancel: cancel}
	s.runs.Go(func() { s.Run(ctx) })
	return s
}

func (s *spool) keep(_ *testing.B, events []event.Event) { s.AppendEvents(events) }

func (s *spool) stop(b *testing.B) {
	s.cancel()
	s.runs.Wait()
	if err := s.Close(); err != nil {
		b.Error(err)
	}
	s.client.Close()
}

type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

type queue struct {
	consume func(context.Context, []event.Event) error
	stops   []func(context.Context) error
}

// startQueue is otlpexporter as one would configure it to lose nothing: fsync,
// retries without an end.
func startQueue(b *testing.B, dir, endpoint string) keeper {
	ctx := context.Background()
	configure := func(cfg component.Config, values map[string]any) component.Config {
		if err := confmap.NewFromStringMap(values).Unmarshal(cfg); err != nil {
			b.Fatal(err)
		}
		return cfg
	}
	storage := filestorage.NewFactory()
	id := component.NewID(storage.Type())
	extension, err := storage.Create(ctx, extensiontest.NewNopSettings(storage.Type()), configure(storage.CreateDefaultConfig(), map[string]any{"directory": dir, "fsync": true}))
	if err != nil {
		b.Fatal(err)
	}
	h := host{id: extension}
	factory := otlpexporter.NewFactory()
	exporter, err := factory.CreateLogs(ctx, exportertest.NewNopSettings(factory.Type()), configure(factory.CreateDefaultConfig(), map[string]any{
		"endpoint": endpoint, "tls": map[string]any{"insecure": true}, "compression": "zstd",
		"retry_on_failure": map[string]any{"max_elapsed_time": 0},
		"sending_queue":    map[string]any{"storage": id.String(), "queue_size": 10_000_000, "num_consumers": 10},
	}))
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []component.Component{extension, exporter} {
		if err := c.Start(ctx, h); err != nil {
			b.Fatal(err)
		}
	}
	return &queue{
		consume: func(ctx context.Context, events []event.Event) error {
			return exporter.ConsumeLogs(ctx, event.Encode(events))
		},
		stops: []func(context.Context) error{exporter.Shutdown, extension.Shutdown},
	}
}

func (q *queue) keep(b *testing.B, events []event.Event) {
	if err := q.consume(context.Background(), events); err != nil {
		b.Fatal(err)
	}
}

func (q *queue) stop(b *testing.B) {
	for _, stop := range q.stops {
		if err := stop(context.Background()); err != nil {
			b.Error(err)
		}
	}
}

// size of the files of a directory, as far as they take room.
func size(b *testing.B, dir string) (bytes int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return bytes
}

func cpu(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkSpool keeps records while the receiver is away, and takes them to one
// that is there. The CPU is that of the whole process, in the second case with
// the receiver in it, which is the same for all.
func BenchmarkSpool(b *testing.B) {
	resource := event.Resource{SensorID: "bench", Session: uuid.New(), HostName: "bench", Version: "bench"}
	records := load()
	for _, receiving := range []bool{false, true} {
		for _, subject := range []struct {
			name  string
			start func(b *testing.B, dir, endpoint string) keeper
		}{
			{"netview", func(b *testing.B, dir, endpoint string) keeper {
				return startSpool(b, dir, endpoint, resource, func(*deliver.Options) {})
			}},
			{"file_storage_otlpexporter", startQueue},
		} {
			name := map[bool]string{false: "kept/", true: "delivered/"}[receiving]
			b.Run(name+subject.name, func(b *testing.B) {
				dir := b.TempDir()
				r := startReceiver(b)
				endpoint := r.endpoint
				if !receiving {
					endpoint = nobody(b)
				}
				k := subject.start(b, dir, endpoint)
				before, began := cpu(b), time.Now()
				n := 0
				for b.Loop() {
					k.keep(b, records[n%len(records)])
					n++
				}
				// What is under way belongs to it, and b.Loop has stopped its clock.
				for receiving && r.requests.Load() < int64(n) {
					time.Sleep(time.Millisecond)
				}
				elapsed, used := time.Since(began), cpu(b)-before
				made := float64(n) * recordsPerAppend
				b.ReportMetric(made/elapsed.Seconds(), "records/s")
				b.ReportMetric(float64(used.Nanoseconds())/made, "CPU-ns/record")
				if !receiving {
					b.ReportMetric(float64(size(b, dir))/made, "B/record")
				}
				b.StopTimer()
				k.stop(b)
			})
		}
	}
}
