package process

import (
	"net"
	"strings"
	"testing"

	"github.com/prometheus/procfs"
)

// openSockets makes this process hold 1,000 sockets.
func openSockets(b *testing.B) {
	b.Helper()
	for range 1000 {
		conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
	}
}

func BenchmarkScan1000(b *testing.B) {
	openSockets(b)
	table := &Table{Proc: "/proc"}
	b.ReportAllocs()
	for b.Loop() {
		if err := table.Scan(); err != nil {
			b.Fatal(err)
		}
	}
	if len(table.owners) < 1000 {
		b.Fatalf("%d sockets with an owner, want 1000", len(table.owners))
	}
}

// BenchmarkPeerProcfsScan1000 finds the same owners with prometheus/procfs, and
// names none of them.
func BenchmarkPeerProcfsScan1000(b *testing.B) {
	openSockets(b)
	proc, err := procfs.NewFS("/proc")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		owners := map[string]int{}
		processes, err := proc.AllProcs()
		if err != nil {
			b.Fatal(err)
		}
		for _, process := range processes {
			targets, err := process.FileDescriptorTargets()
			if err != nil {
				continue
			}
			for _, target := range targets {
				if strings.HasPrefix(target, "socket:[") {
					owners[target] = process.PID
				}
			}
		}
		if len(owners) < 1000 {
			b.Fatal(len(owners))
		}
	}
}
