package deliver

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"

	"github.com/netview-project/netview/event"
)

// taker acknowledges everything at once.
type taker struct{}

func (taker) Send(context.Context, []byte) (plogotlp.ExportResponse, error) {
	return plogotlp.NewExportResponse(), nil
}

func (taker) Close() error { return nil }

// perAppend is how many events are appended at a time.
const perAppend = 1000

func benchSpool(b *testing.B, client Client) (*Spool, []event.Event) {
	o := options(b, "grpc://127.0.0.1:9")
	o.EventsBytes = 64 << 30
	if client != nil {
		o.Client = client
	}
	events := flows(perAppend)
	random := rand.New(rand.NewPCG(1, 2))
	for i, e := range events { // as different as those of a busy host
		flow := e.(*event.NetworkFlow)
		flow.Timestamp = flow.Timestamp.Add(time.Duration(i)*time.Millisecond + time.Duration(random.IntN(1e6))*time.Microsecond)
		flow.SourcePort, flow.DestinationPort = uint16(32768+random.IntN(28000)), uint16([]int{443, 80, 5432, 6379}[random.IntN(4)])
		flow.DestinationAddress = netip.AddrFrom4([4]byte{10, byte(random.IntN(16)), byte(random.IntN(256)), 7})
		flow.BytesSent, flow.BytesReceived = event.Some(random.Uint64N(1<<20)), event.Some(random.Uint64N(1<<24))
		flow.Duration = event.Some(time.Duration(random.IntN(1e7)) * time.Microsecond)
		flow.Process.PID = event.Some(uint32(1000 + random.IntN(100)))
	}
	return open(b, o), events
}

func reportSpool(b *testing.B, bytes int64) {
	n := float64(b.N) * perAppend
	b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(bytes)/n, "B/record")
}

// BenchmarkAppend writes to the disk, synced as by default, and sends nothing.
func BenchmarkAppend(b *testing.B) {
	s, events := benchSpool(b, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.keepHouse(ctx) })
	b.ReportAllocs()
	for b.Loop() {
		s.AppendEvents(events)
	}
	if err := s.makeLast(); err != nil { // the last sync is part of it
		b.Fatal(err)
	}
	reportSpool(b, s.Status().Events.Bytes)
	cancel()
	running.Wait()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAppendAndDeliver takes records all the way but for the network.
func BenchmarkAppendAndDeliver(b *testing.B) {
	s, events := benchSpool(b, taker{})
	stop := run(b, s)
	b.ReportAllocs()
	for b.Loop() {
		s.AppendEvents(events)
	}
	for !s.empty() {
		s.mutex.Lock() // as an append would
		s.mutex.Unlock()
	}
	reportSpool(b, 0)
	stop()
}
