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
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){
		"state": LoadState, "accept": LoadAccept, "fexit_accept": LoadFexitAccept, "connect": LoadConnect, "fexit_connect": LoadFexitConnect,
		"udp": LoadUDP, "fexit_udp": LoadFexitUDP, "lsm": LoadLSM, "uring": LoadUring, "kprobe": LoadKprobe,
	} {
		agree(t, name, load, "nv_socket_event", reflect.TypeFor[StateNvSocketEvent]())
	}
	agree(t, "dns", LoadDNS, "nv_packet", reflect.TypeFor[DNSNvPacket]())
	agree(t, "lookup", LoadLookup, "nv_lookup", reflect.TypeFor[LookupNvLookup]())
	agree(t, "lookup", LoadLookup, "nv_socket_event", reflect.TypeFor[StateNvSocketEvent]())
	agree(t, "exec", LoadExec, "nv_exec", reflect.TypeFor[ExecNvExec]())
}

// agree compares a struct of an object with that of Go.
func agree(t *testing.T, object string, load func() (*ebpf.CollectionSpec, error), name string, record reflect.Type) {
	t.Helper()
	spec, err := load()
	if err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	var described *btf.Struct
	if err := spec.Types.TypeByName(name, &described); err != nil {
		t.Errorf("%s: %v", object, err)
		return
	}
	if uintptr(described.Size) != record.Size() {
		t.Errorf("%s: %s has %d bytes, in Go %d", object, name, described.Size, record.Size())
	}
	if described.Members[0].Name != "type" {
		t.Errorf("%s: %s begins with %s, not with its type", object, name, described.Members[0].Name)
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
			t.Errorf("%s: there is a hole before %s", object, m.Name)
		}
		end = m.Offset.Bytes() + uint32(size)
		if strings.HasPrefix(m.Name, "pad") {
			continue
		}
		if !there || uint32(f.Offset) != m.Offset.Bytes() || f.Type.Size() != uintptr(size) {
			t.Errorf("%s: %s is at %d with %d bytes, in Go %+v", object, m.Name, m.Offset.Bytes(), size, f)
		}
	}
	if end != described.Size {
		t.Errorf("%s: there is a hole at the end", object)
	}
}
