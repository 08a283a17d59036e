package probe

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
)

// TestCandidates tries every candidate by itself, beside the feature that all
// rest on, and says which of them this kernel has. Each feature that only some
// kernels have needs a kernel that proves it: see internal/testkernel.
func TestCandidates(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("eBPF needs root (CAP_BPF and CAP_PERFMON)")
	}
	base := candidates[0]
	for _, c := range candidates {
		t.Run(c.feature+" by "+c.hook, func(t *testing.T) {
			list := []candidate{base}
			for _, other := range candidates { // which may be made by the way
				if other.feature != base.feature && other.hook == c.hook {
					list = append(list, other)
				}
			}
			p := open(slog.New(slog.NewTextHandler(t.Output(), nil)), list)
			defer p.Close()
			f := p.feature(c.feature)
			if f.Err != nil {
				t.Skipf("not on this kernel: %v (%s)", f.Err, f.Remedy)
			}
		})
	}
}

// TestLeftOut: a feature that is left out is not in the kernel, and says by which flag.
func TestLeftOut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("eBPF needs root (CAP_BPF and CAP_PERFMON)")
	}
	p := Open(slog.New(slog.NewTextHandler(t.Output(), nil)), FeatureLookup, FeatureExec)
	defer p.Close()
	for _, name := range []string{FeatureLookup, FeatureExec} {
		if f := p.feature(name); p.On(name) || f.Err == nil || !strings.Contains(f.Err.Error(), "--dns.lookups") || f.Remedy != "" {
			t.Errorf("%+v", *f)
		}
	}
	if _, err := p.AttachLookups("/", 1); !errors.Is(err, ErrNoLookups) {
		t.Errorf("programs that are left out are attached: %v", err)
	}
	if err := p.ForgetRoots(); err != nil {
		t.Error(err)
	}
}
