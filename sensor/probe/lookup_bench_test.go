package probe

import (
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// BenchmarkExec: what the program at execs takes for one where nothing is new, by the
// kernel's own clock, which counts its own reading too.
func BenchmarkExec(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("eBPF needs root (CAP_BPF and CAP_PERFMON)")
	}
	p := Open(slog.New(slog.DiscardHandler))
	defer p.Close()
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Skip(err)
	}
	defer stats.Close()
	before := p.runs(b, FeatureExec)
	for b.Loop() {
		if err := exec.Command("/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
	}
	after := p.runs(b, FeatureExec)
	b.ReportMetric(float64((after.Runtime-before.Runtime).Nanoseconds())/float64(after.RunCount-before.RunCount), "ns/exec")
}

// runs of a feature's only program.
func (p *Probe) runs(b *testing.B, feature string) *ebpf.ProgramStats {
	b.Helper()
	for _, c := range p.attached[feature] {
		if program, is := c.(*ebpf.Program); is {
			stats, err := program.Stats()
			if err != nil {
				b.Fatal(err)
			}
			return stats
		}
	}
	b.Skipf("%s is off: %v", feature, p.feature(feature).Err)
	return nil
}
