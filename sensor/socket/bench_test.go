package socket

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/prometheus/procfs"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// counter is a sink that keeps nothing.
type counter struct{ rows, bad int }

func (c *counter) row(Row)              { c.rows++ }
func (c *counter) badRow(Cause, []byte) { c.bad++ }

func BenchmarkParse(b *testing.B) {
	const rows = 1000
	var text strings.Builder
	text.WriteString(header)
	for i := range rows {
		text.WriteString(formatRow(i, "0100007F:1F90", fmt.Sprintf("0200007F:%04X", i), 1, uint64(i)))
	}
	table := []byte(text.String())
	reader, buffer := bytes.NewReader(nil), make([]byte, 32<<10)
	var got counter
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(table)
		if err := parse(reader, TCP, buffer, &got); err != nil {
			b.Fatal(err)
		}
	}
	if got.rows != b.N*rows || got.bad != 0 {
		b.Fatalf("%d rows and %d faults, want %d and none", got.rows, got.bad, b.N*rows)
	}
	b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
}

// openSockets holds 1,000 TCP sockets: 2 listeners and 499 connections, both ends.
func openSockets(b *testing.B) {
	b.Helper()
	keep := func(c interface{ Close() error }) { b.Cleanup(func() { c.Close() }) }
	for _, n := range []int{249, 250} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		keep(listener)
		for range n {
			client, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			keep(client)
			server, err := listener.Accept()
			if err != nil {
				b.Fatal(err)
			}
			keep(server)
		}
	}
}

// BenchmarkRead1000 reads all namespaces of this machine.
func BenchmarkRead1000(b *testing.B) {
	openSockets(b)
	r, table := &Reader{Proc: "/proc"}, &Table{}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Read(table); err != nil {
			b.Fatal(err)
		}
	}
	if len(table.Rows) < 1000 {
		b.Fatalf("%d rows, want 1000", len(table.Rows))
	}
}

// BenchmarkPeerProcfsRead1000 reads the same tables of the own namespace alone
// with prometheus/procfs, which knows no other.
func BenchmarkPeerProcfsRead1000(b *testing.B) {
	openSockets(b)
	proc, err := procfs.NewFS("/proc")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tcp, err := proc.NetTCP()
		if err != nil {
			b.Fatal(err)
		}
		_, err6 := proc.NetTCP6()
		_, errUDP := proc.NetUDP()
		_, errUDP6 := proc.NetUDP6()
		if len(tcp) < 1000 || err6 != nil || errUDP != nil || errUDP6 != nil {
			b.Fatal(len(tcp), err6, errUDP, errUDP6)
		}
	}
}

// BenchmarkWalk finds the namespaces of this machine, without reading any.
func BenchmarkWalk(b *testing.B) {
	proc, err := procdir.Open("/proc")
	if err != nil {
		b.Fatal(err)
	}
	defer proc.Close()
	var w walk
	b.ReportAllocs()
	for b.Loop() {
		if err := w.namespaces(proc); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(w.pids)), "processes")
}
