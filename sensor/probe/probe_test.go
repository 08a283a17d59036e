package probe

import (
	"testing"
	"unsafe"
)

// TestDecode: a record has the length of the struct that is made of wire.h by
// its BTF, and nothing else is taken for one.
func TestDecode(t *testing.T) {
	size := int(unsafe.Sizeof(Event{}))
	whole := make([]uint64, size/8+1)
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&whole[0])), size+8)
	for n := range size + 8 {
		if _, ok := decode(bytes[:n]); ok != (n == size) {
			t.Errorf("%d bytes of %d: taken %v", n, size, ok)
		}
	}
	copy(bytes[unsafe.Offsetof(Event{}.Comm):], "bash\x00rest")
	bytes[unsafe.Offsetof(Event{}.RemotePort)] = 80
	if e, _ := decode(bytes[:size]); string(Comm(e)) != "bash" || e.RemotePort != 80 {
		t.Errorf("comm %q, port %d", Comm(e), e.RemotePort)
	}
}
