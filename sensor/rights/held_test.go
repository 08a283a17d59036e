package rights

import (
	"slices"
	"strings"
	"testing"
)

func TestMissing(t *testing.T) {
	for _, tt := range []struct{ held, features, missing string }{
		{"", "flow", "CAP_BPF CAP_PERFMON"},
		{"CAP_BPF", "flow", "CAP_PERFMON"},
		{"CAP_SYS_ADMIN", "flow", ""},
		{"CAP_BPF CAP_PERFMON", "flow", ""},
		{"CAP_BPF CAP_PERFMON CAP_DAC_READ_SEARCH", "accept", "CAP_SYS_ADMIN"},
		{"CAP_SYS_ADMIN", "dns", "CAP_NET_ADMIN"},
		{"CAP_NET_ADMIN CAP_SYS_ADMIN", "dns", ""},
		{"", "accept", "CAP_DAC_READ_SEARCH CAP_SYS_ADMIN"}, // which includes the other two
		{"", "other_processes mounted_namespaces", "CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_SYS_ADMIN"},
		{"CAP_SYS_PTRACE", "other_processes", "CAP_DAC_READ_SEARCH"},
		{"", "", ""},
		{"", "socket_tables", ""},
	} {
		held := Table()
		for i := range held {
			held[i].Held = slices.Contains(strings.Fields(tt.held), held[i].Name)
		}
		if got := strings.Join(missing(held, strings.Fields(tt.features)), " "); got != tt.missing {
			t.Errorf("with %q %q misses %q, want %q", tt.held, tt.features, got, tt.missing)
		}
	}
}

// TestLeast: the two sets of docs/rights.md give every feature, or every one but
// those that take CAP_SYS_ADMIN.
func TestLeast(t *testing.T) {
	all, without := Least()
	for _, r := range table {
		for _, feature := range r.Features {
			for _, set := range [][]string{all, without} {
				held := Table()
				for i := range held {
					held[i].Held = slices.Contains(set, held[i].Name)
				}
				names := missing(held, []string{feature})
				if len(names) > 0 && !slices.Equal(names, []string{sysAdmin}) || len(names) > 0 && slices.Contains(set, sysAdmin) {
					t.Errorf("with %v %s misses %v", set, feature, names)
				}
			}
		}
	}
	if slices.Contains(without, sysAdmin) || !slices.Contains(all, sysAdmin) {
		t.Errorf("%v, and without %s %v", all, sysAdmin, without)
	}
}
