package sensor

import (
	"os"
	"testing"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/bpf"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/process"
)

// connectionRecords are what the kernel tells of one connection over loopback:
// the connect, the accept and the two ends.
func connectionRecords(id uint64) [4]probe.Event {
	base := probe.Event{Time: uint64(bootClock()), Netns: 1, Tgid: uint32(os.Getpid()), Family: probe.FamilyIPv4, Protocol: 6,
		Local: [16]uint8{127, 0, 0, 1}, Remote: [16]uint8{127, 0, 0, 1}, LocalPort: 40000, RemotePort: 443}
	base.Start = base.Time
	copy(base.Comm[:], []int8{'s', 'e', 'n', 's', 'o', 'r', '.', 't', 'e', 's', 't'})
	connect, accept := base, base
	connect.Type, connect.Role, connect.Cookie = bpf.StateNvTypeNV_CONNECT, bpf.StateNvRoleNV_CONNECTED, 2*id
	accept.Type, accept.Role, accept.Cookie = bpf.StateNvTypeNV_ACCEPT, bpf.StateNvRoleNV_ACCEPTED, 2*id+1
	out, in := connect, accept
	out.Type, out.BytesSent, out.BytesReceived, out.OldState = bpf.StateNvTypeNV_CLOSE, 1000, 2000, 5
	in.Type, in.BytesSent, in.BytesReceived, in.OldState = bpf.StateNvTypeNV_CLOSE, 2000, 1000, 9
	return [4]probe.Event{connect, accept, out, in}
}

// takeConnections lets happenings take what the kernel tells of n connections, from
// the given on, and encode it.
func takeConnections(h *happenings, records *[4]probe.Event, from, n int) {
	for i := from; i < from+n; i++ {
		for j := range records {
			records[j].Cookie = uint64(2*i) + uint64(j&1) + 2
			h.take(&records[j])
		}
	}
}

func encodingHappenings() *happenings {
	var encoder event.Encoder
	var body []byte
	h := newHappenings(event.Resource{SensorID: "bench", HostName: "host"}, &process.Table{Proc: "/proc"}, func(events []event.Event) { body = encoder.Append(body[:0], events) })
	return h
}

// BenchmarkTake is the way of four records, those of one connection, from the ring
// buffer to OTLP.
func BenchmarkTake(b *testing.B) {
	h, records := encodingHappenings(), connectionRecords(1)
	takeConnections(h, &records, 0, 100_000) // which fills what is remembered
	at := 100_000
	b.ReportAllocs()
	for b.Loop() {
		takeConnections(h, &records, at, 1)
		at++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(4*b.N), "ns/event")
}

// TestTakeAllocates: nothing per event, once everything has its size.
func TestTakeAllocates(t *testing.T) {
	h, records := encodingHappenings(), connectionRecords(1)
	takeConnections(h, &records, 0, 100_000)
	at := 100_000
	const connections = 1000
	perRun := testing.AllocsPerRun(20, func() {
		takeConnections(h, &records, at, connections)
		at += connections
	})
	// What is left is of each append, and of asking again who a process is.
	if perEvent := perRun / (4 * connections); perEvent > 0.05 {
		t.Errorf("%.3f allocations for each event", perEvent)
	}
}
