package probe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/netview-project/netview/sensor/bpf"
)

// sampleOf is a record of a type, as the ring buffer gives it.
func sampleOf(kind bpf.StateNvType, size uintptr) []byte {
	words := make([]uint64, size/8+2)
	sample := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), size+8)
	binary.NativeEndian.PutUint32(sample, uint32(kind))
	return sample
}

// TestDecodeLookup: a record has the length of its struct, and nothing else is taken
// for one.
func TestDecodeLookup(t *testing.T) {
	for kind, size := range map[bpf.StateNvType]uintptr{bpf.StateNvTypeNV_LOOKUP: unsafe.Sizeof(Lookup{}), bpf.StateNvTypeNV_EXEC: unsafe.Sizeof(bpf.ExecNvExec{})} {
		sample := sampleOf(kind, size)
		told := 0
		handler := Handler{Lookup: func(*Lookup) { told++ }, Exec: func(uint32) { told++ }}
		for n := range sample {
			if ok := hand(sample[:n], &handler); ok != (uintptr(n) == size) {
				t.Errorf("type %d with %d bytes of %d: taken %v", kind, n, size, ok)
			}
		}
		if told != 1 {
			t.Errorf("type %d is told %d times", kind, told)
		}
	}
}

// lookupOf is one with some of its fields.
func lookupOf(set func(*Lookup)) *Lookup {
	l := &Lookup{}
	set(l)
	return l
}

func write(to []int8, text string) uint16 {
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&to[0])), len(to)), text)
	return uint16(len(text))
}

// TestLookup: what a record says, and what it says that cannot be.
func TestLookup(t *testing.T) {
	address := func(l *Lookup, family uint16, text string) {
		a := &l.Addresses[l.Count]
		a.Family = family
		copy(a.Address[:], netip.MustParseAddr(text).AsSlice())
		l.Count++
	}
	for want, l := range map[string]*Lookup{
		`"" false "" false ok 1µs [] ""`: lookupOf(func(l *Lookup) { l.Start, l.Time = 1000, 2000 }),
		`"one.test" true "80" true EAI_NONAME 0s [] "curl"`: lookupOf(func(l *Lookup) {
			l.NodeLength, l.NodeState = write(l.Node[:], "one.test"), bpf.LookupNvTextNV_TEXT_READ
			l.ServiceLength, l.ServiceState = write(l.Service[:], "80"), bpf.LookupNvTextNV_TEXT_READ
			write(l.Comm[:], "curl")
			l.Result = -2
		}),
		`"" false "" true -77 0s [] "curl"`: lookupOf(func(l *Lookup) { // they could not be read
			l.NodeState, l.ServiceState = bpf.LookupNvTextNV_TEXT_UNREAD, bpf.LookupNvTextNV_TEXT_READ
			write(l.Comm[:], "curl\x00rest")
			l.Result = -77
		}),
		`"" false "" false ok 0s [192.0.2.1 2001:db8::1 192.0.2.2] ""`: lookupOf(func(l *Lookup) {
			address(l, 2, "192.0.2.1")
			address(l, 10, "2001:db8::1")
			address(l, 2, "192.0.2.1")
			address(l, 10, "::ffff:192.0.2.2")
		}),
	} {
		name, known := l.Name()
		service, given := l.ServiceName()
		if got := fmt.Sprintf("%q %v %q %v %s %v %v %q", name, known, service, given, l.Outcome(), l.Latency(), l.AppendAddresses(nil), l.Process()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	l := lookupOf(func(l *Lookup) { l.NodeLength, l.ServiceLength, l.Count = 0xffff, 0xffff, 0xff })
	name, _ := l.Name()
	service, _ := l.ServiceName()
	if len(name) != len(l.Node) || len(service) != len(l.Service) || len(l.AppendAddresses(nil)) != 1 {
		t.Errorf("lengths beyond the record: %d %d %v", len(name), len(service), l.AppendAddresses(nil))
	}
	before := []netip.Addr{netip.MustParseAddr("::")}
	if list := l.AppendAddresses(before); len(list) != 2 {
		t.Errorf("what was in the list counts: %v", list)
	}
}

// FuzzLookup: no record makes its reader fail.
func FuzzLookup(f *testing.F) {
	f.Add(sampleOf(bpf.StateNvTypeNV_LOOKUP, unsafe.Sizeof(Lookup{}))[:unsafe.Sizeof(Lookup{})])
	f.Add(sampleOf(bpf.StateNvTypeNV_EXEC, unsafe.Sizeof(bpf.ExecNvExec{}))[:unsafe.Sizeof(bpf.ExecNvExec{})])
	f.Fuzz(func(t *testing.T, data []byte) {
		sample := sampleOf(0, uintptr(len(data)))[:len(data)]
		copy(sample, data)
		hand(sample, &Handler{Lookup: func(l *Lookup) {
			name, _ := l.Name()
			service, _ := l.ServiceName()
			_ = bytes.Clone(append(name[:len(name):len(name)], service...))
			_ = l.AppendAddresses(nil)
			_, _ = l.Outcome(), l.Process()
		}})
	})
}
