package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/sensor"
)

// check runs `netview-sensor check`.
func check(t *testing.T, arguments ...string) (code int, said string) {
	t.Helper()
	p := testbin.Start(t, "netview-sensor", nil, append([]string{"check", "--sensor-id", "test"}, arguments...)...)
	return p.Wait(), p.Said()
}

func TestCheck(t *testing.T) {
	h, empty, dead := host(t), t.TempDir(), "grpc://"+testbin.FreeAddress(t)
	for name, tt := range map[string]struct {
		arguments []string
		code      int
		says      []string // regular expressions
	}{
		"a host": {nil, 0, []string{`SENSOR +test on \S+, Linux`, `FOUND +5 connections, 2 TCP and 4 UDP listeners in 1 network namespaces; 9 of these sockets with their process`,
			`(?m)^socket_tables +on `, `(?m)^flow +off .*\n +why not: not asked for`, `CAP_SYS_PTRACE +(yes|no) `, `socket_row_short +1 .*\n +first: .*9: 010200C0:01BB 02020.*\n +remedy: report it`}},
		"no procfs":                {[]string{"--path.procfs", empty}, 1, []string{`(?m)^socket_tables +off .*\n +why not: .*` + empty + `.*\n +remedy: .*--path.procfs`, `the feature socket_tables is off`}},
		"what is required is off":  {[]string{"--require", "processes", "--require", "flow"}, 1, []string{"(?m)^netview-sensor: the feature flow is off: not asked for"}},
		"what is required is on":   {[]string{"--require", "processes"}, 0, nil},
		"what does not exist":      {[]string{"--require", "magic"}, 1, []string{"there is no feature magic: .*socket_tables, processes"}},
		"a collector that is away": {[]string{"--otlp.endpoint", dead}, 0, []string{"COLLECTOR +" + dead + " does not answer: .*connection refused"}},
		"a wrong endpoint":         {[]string{"--otlp.endpoint", "nowhere"}, 1, []string{"nowhere.*grpc://"}},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(strings.Join(tt.arguments, " "), "--path.procfs") {
				tt.arguments = append(tt.arguments, "--path.procfs", h.Proc, "--no-ebpf")
			}
			code, said := check(t, tt.arguments...)
			if code != tt.code {
				t.Errorf("exit %d, want %d", code, tt.code)
			}
			for _, pattern := range tt.says {
				if !regexp.MustCompile(pattern).MatchString(said) {
					t.Errorf("nothing matches %s", pattern)
				}
			}
		})
	}
}

// TestCheckThisHost reads the real procfs, as JSON.
func TestCheckThisHost(t *testing.T) {
	code, said := check(t, "--format", "json")
	var r sensor.Report
	if err := json.Unmarshal([]byte(said), &r); err != nil {
		t.Fatalf("%v in %s", err, said)
	}
	hostname, _ := os.Hostname()
	if code != 0 || r.HostName != hostname || r.Namespaces == 0 || len(r.Features) == 0 || r.Features[0].Off != "" {
		t.Errorf("exit %d, %+v", code, r)
	}
}
