package sensor

import (
	"errors"
	"testing"
	"unsafe"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/flow"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/process"
)

// FuzzTake: whatever the kernel's records hold, and in whatever order, each gives
// events that the contract can carry, and nothing panics.
func FuzzTake(f *testing.F) {
	const size = int(unsafe.Sizeof(probe.Event{}))
	f.Add(make([]byte, 3*size))
	two := make([]byte, 2*size)
	for i := range two {
		two[i] = byte(i)
	}
	for kind := range byte(8) {
		record := make([]byte, size)
		record[unsafe.Offsetof(probe.Event{}.Type)] = kind
		record[unsafe.Offsetof(probe.Event{}.Cookie)] = 1
		record[unsafe.Offsetof(probe.Event{}.Family)] = 2
		two = append(two, record...)
	}
	f.Add(two)
	f.Fuzz(func(t *testing.T, records []byte) {
		h := newHappenings(event.Resource{SensorID: "fuzz"}, &process.Table{Proc: "/proc"}, func(events []event.Event) {
			for i, e := range events {
				e.Env().Sequence = uint64(i + 1)
			}
			bytes, err := new(plog.ProtoMarshaler).MarshalLogs(event.Encode(events))
			if err != nil {
				t.Fatal(err)
			}
			decoder, n := event.NewDecoder(), 0
			if err := decoder.Decode(bytes, func(r event.Record) {
				n++
				if r.Err != nil {
					t.Errorf("a receiver refuses it: %v", r.Err)
				}
			}); err != nil || n != len(events) {
				t.Errorf("%d of %d events come back: %v", n, len(events), err)
			}
		})
		h.user = func(uint32) string { return "somebody" }
		h.identify = func(uint32) (process.Identity, error) { return process.Identity{}, errors.New("gone") }
		for ; len(records) >= size; records = records[size:] {
			var e probe.Event
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&e)), size), records)
			h.take(&e)
		}
		h.compare(1, nil, func(func(*flow.Sighting)) {}, nil)
		h.flush()
	})
}
