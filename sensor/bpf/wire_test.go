package bpf

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// TestWire: the record that each object's own BTF describes is the Go struct,
// member by member, without a hole that has no name.
func TestWire(t *testing.T) {
	record := reflect.TypeFor[StateNvSocketEvent]()
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){
		"state": LoadState, "accept": LoadAccept, "fexit_accept": LoadFexitAccept, "connect": LoadConnect, "fexit_connect": LoadFexitConnect,
		"udp": LoadUDP, "fexit_udp": LoadFexitUDP, "lsm": LoadLSM, "uring": LoadUring, "kprobe": LoadKprobe,
	} {
		spec, err := load()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var described *btf.Struct
		if err := spec.Types.TypeByName("nv_socket_event", &described); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if uintptr(described.Size) != record.Size() {
			t.Errorf("%s: a record has %d bytes, in Go %d", name, described.Size, record.Size())
		}
		end := uint32(0)
		fields := map[string]reflect.StructField{}
		for i := range record.NumField() {
			f := record.Field(i)
			fields[strings.ToLower(f.Name)] = f
		}
		for _, m := range described.Members {
			f, there := fields[strings.ToLower(strings.ReplaceAll(m.Name, "_", ""))]
			size, err := btf.Sizeof(m.Type)
			if err != nil {
				t.Fatal(err)
			}
			if m.Offset.Bytes() != end {
				t.Errorf("%s: there is a hole before %s", name, m.Name)
			}
			end = m.Offset.Bytes() + uint32(size)
			if strings.HasPrefix(m.Name, "pad") {
				continue
			}
			if !there || uint32(f.Offset) != m.Offset.Bytes() || f.Type.Size() != uintptr(size) {
				t.Errorf("%s: %s is at %d with %d bytes, in Go %+v", name, m.Name, m.Offset.Bytes(), size, f)
			}
		}
		if end != described.Size {
			t.Errorf("%s: there is a hole at the end", name)
		}
	}
}
