package libc

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/netview-project/netview/sensor/probe"
)

// rounds of each kind, alternating.
const rounds = 15

// times runs a program that says how many nanoseconds something takes.
func times(b *testing.B, command *exec.Cmd) float64 {
	b.Helper()
	out, err := command.CombinedOutput()
	if err != nil {
		b.Fatalf("%v: %v: %s", command, err, out)
	}
	ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		b.Fatal(err)
	}
	return ns
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// compare reports what something takes in two states, in turns, by the medians. What
// enters a state returns what leaves it.
func compare(b *testing.B, measure func() float64, off, on func() (leave func())) {
	var without, with, ratio []float64
	in := func(enter func() func()) float64 {
		leave := enter()
		defer leave()
		return measure()
	}
	for b.Loop() {
		for range rounds {
			before, after := in(off), in(on)
			without, with, ratio = append(without, before), append(with, after), append(ratio, after/before)
		}
	}
	b.ReportMetric(median(without), "ns-off")
	b.ReportMetric(median(with), "ns-on")
	b.ReportMetric(median(ratio), "ratio")
	b.ReportMetric(0, "ns/op") // which has no meaning here
}

// openProbe is one that tells nothing to anybody, but keeps the ring buffer empty.
func openProbe(b *testing.B, leftOut ...string) *probe.Probe {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("eBPF needs root (CAP_BPF and CAP_PERFMON)")
	}
	p := probe.Open(slog.New(slog.DiscardHandler), leftOut...)
	if !p.Tells() {
		b.Skipf("no eBPF here: %v", p.Features()[0].Err)
	}
	go func() { _ = p.Run(b.Context(), probe.Handler{}) }()
	b.Cleanup(func() { _ = p.Close() }) // what it could not take out goes with the process
	return p
}

// BenchmarkLookups: what a call of getaddrinfo takes with the probes and without, by
// the instruction that returns and by the return address.
func BenchmarkLookups(b *testing.B) {
	file := compiled(b, "gcc", "lookup.c")
	for _, end := range []string{"instruction", "address"} {
		dir := b.TempDir()
		newRoot(b, dir, file)
		library := dir + lib(b, file)
		if end == "address" {
			cutFunction(b, library)
		}
		if err := errors.Join(os.Mkdir(dir+"/etc", 0o755), os.WriteFile(dir+"/etc/hosts", []byte(etc["hosts"]), 0o644)); err != nil {
			b.Fatal(err)
		}
		for _, name := range []string{"127.0.0.1", "localhost"} {
			b.Run(end+"/"+name, func(b *testing.B) {
				p := openProbe(b)
				compare(b, func() float64 { return times(b, inRoot(dir, "bench", name, "3000")) }, func() func() { return func() {} }, func() func() {
					probes, err := p.AttachLookups(library, 1)
					if err != nil {
						b.Fatal(err)
					}
					return closing(b, probes)
				})
			})
		}
	}
}

func closing(b *testing.B, c io.Closer) func() {
	return func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkExec: what a child that runs a program takes with the program at execs
// and without, beside all others; nothing is new in it.
func BenchmarkExec(b *testing.B) {
	file := compiled(b, "gcc", "lookup.c")
	enter := func(leftOut ...string) func() func() {
		return func() func() {
			p := probe.Open(slog.New(slog.DiscardHandler), leftOut...)
			times(b, exec.Command(file, "spawn", "/bin/true", "100")) // until what loading left behind is done
			return closing(b, p)
		}
	}
	compare(b, func() float64 { return times(b, exec.Command(file, "spawn", "/bin/true", "500")) }, enter(probe.FeatureExec), enter())
}

// BenchmarkLook: a look at all processes of this host, none of which is new.
func BenchmarkLook(b *testing.B) {
	p := openProbe(b)
	f := New("/proc", p, slog.New(slog.DiscardHandler))
	defer f.close()
	f.look()
	for b.Loop() {
		f.look()
	}
	b.ReportMetric(float64(len(f.processes)), "processes")
}
