// Package testunits tries the systemd units and the security context of deploy/ where
// they are what the sensor and the collector run under: in a virtual machine of
// internal/testkernel, for which setup.sh installs them.
package testunits

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/sensor"
	"github.com/netview-project/netview/sensor/rights"
)

const (
	sensorUnit, collectorUnit = "netview-sensor.service", "netview-collector.service"
	sensorMetrics             = "http://127.0.0.1:9765/metrics"
	collectorHealth           = "http://127.0.0.1:13133/"
	// nobody is a user without rights.
	nobody = 65534
	// patience bounds every wait: emulation is slow.
	patience = 6 * time.Minute
)

func TestMain(m *testing.M) {
	if os.Getenv("NETVIEW_UNITS") == "" {
		fmt.Println("skipped: these tests run in a machine with systemd: make test-kernels RUN=TestUnits")
		return
	}
	os.Exit(m.Run())
}

// TestUnits is one test, since each finds what those before it have left.
func TestUnits(t *testing.T) {
	t.Run("Starts", testStarts)
	t.Run("Check", testCheck)
	t.Run("Capabilities", testCapabilities)
	t.Run("Limits", testLimits)
	t.Run("ALocalUser", testALocalUser)
	t.Run("Restart", testRestart)
	t.Run("DaemonSet", testDaemonSet)
}

// testStarts: systemd started both units at boot, the sensor has every feature within
// its sandbox, and what happens reaches the collector with a certificate.
func testStarts(t *testing.T) {
	testbin.Eventually(t, patience, func() string {
		response, err := http.Get(collectorHealth)
		if err != nil {
			return fmt.Sprintf("%v\n%s", err, journal(t, collectorUnit))
		}
		defer response.Body.Close()
		if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
			return fmt.Sprintf("%s: %s\n%s", response.Status, text, journal(t, collectorUnit))
		}
		return ""
	})
	acknowledged(t, "heartbeat")
	enabled(t)
	happen(t)
	acknowledged(t, "connection", "listener", "network_connect", "network_accept", "network_listen", "network_flow", "dns_query", "dns_lookup", "lsm_net_connect")
	for _, unit := range []string{sensorUnit, collectorUnit} {
		if state, restarts := property(t, unit, "ActiveState"), property(t, unit, "NRestarts"); state != "active" || restarts != "0" {
			t.Errorf("%s is %s after %s restarts", unit, state, restarts)
		}
		if said := journal(t, unit); regexp.MustCompile(`(?i)not permitted|permission denied|level=(WARN|ERROR)|"level":"(warn|error)"`).MatchString(said) {
			t.Errorf("%s says\n%s", unit, said)
		}
	}
}

// testCheck: `netview-sensor check` in the unit's sandbox says what the running sensor does.
func testCheck(t *testing.T) {
	text, err := os.ReadFile("/etc/systemd/system/" + sensorUnit)
	if err != nil {
		t.Fatal(err)
	}
	const answer = "/run/netview-check.json"
	unit := strings.NewReplacer("ExecStart=/usr/bin/netview-sensor\n", "ExecStart=/usr/bin/netview-sensor check --format json\nType=oneshot\nStandardOutput=file:"+answer+"\n", "Restart=always\n", "").Replace(string(text))
	if err := os.WriteFile("/run/systemd/system/netview-check.service", []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "daemon-reload")
	systemctl(t, "start", "netview-check.service")
	said, err := os.ReadFile(answer)
	if err != nil {
		t.Fatal(err)
	}
	var report sensor.Report
	if err := json.Unmarshal(said, &report); err != nil {
		t.Fatalf("%v:\n%s", err, said)
	}
	var on []string
	for _, f := range report.Features {
		if f.Off != "" {
			t.Errorf("%s is off: %s", f.Name, f.Off)
		}
		on = append(on, f.Name)
	}
	for _, feature := range promised() {
		if !slices.Contains(on, feature) && feature != "spool" { // which a check does not open
			t.Errorf("the check says nothing of %s", feature)
		}
	}
	if report.Collector == nil || report.Collector.Error != "" {
		t.Errorf("the collector: %+v", report.Collector)
	}
	if len(report.Losses) > 0 {
		t.Errorf("losses: %+v", report.Losses)
	}
}

// mask of capabilities, as /proc/PID/status has it.
func mask(t *testing.T, names ...string) string {
	t.Helper()
	var mask uint64
	for _, name := range names {
		value, err := cap.FromName(strings.ToLower(name))
		if err != nil {
			t.Fatal(err)
		}
		mask |= 1 << value
	}
	return fmt.Sprintf("%016x", mask)
}

// testCapabilities: every thread has what docs/rights.md says, and no more.
func testCapabilities(t *testing.T) {
	all, _ := rights.Least()
	var kept []string
	for _, r := range rights.Table() {
		if r.Kept != "" {
			kept = append(kept, r.Name)
		}
	}
	for unit, want := range map[string]map[string]string{
		// Without CAP_SETPCAP the bounding set stays.
		sensorUnit:    {"CapInh": mask(t), "CapPrm": mask(t, kept...), "CapEff": mask(t, kept...), "CapBnd": mask(t, all...), "CapAmb": mask(t), "NoNewPrivs": "1", "Seccomp": "2"},
		collectorUnit: {"CapInh": mask(t), "CapPrm": mask(t), "CapEff": mask(t), "CapBnd": mask(t), "CapAmb": mask(t), "NoNewPrivs": "1", "Seccomp": "2"},
	} {
		checkThreads(t, pid(t, unit), want)
	}
}

// checkThreads compares lines of /proc/PID/status of all threads.
func checkThreads(t *testing.T, pid int, want map[string]string) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d has no threads (%v)", pid, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that ended
		}
		for name, value := range want {
			if got := regexp.MustCompile(`(?m)^` + name + `:\s*(\w+)$`).FindStringSubmatch(string(text)); len(got) != 2 || got[1] != value {
				t.Errorf("%s of %s is %q, want %s", name, file, got, value)
			}
		}
	}
}

// testLimits: what the units bound is bounded, and Go knows of it before the kernel
// acts, with some thousand sockets to watch too.
func testLimits(t *testing.T) {
	if err := os.Remove("/etc/systemd/system/" + sensorUnit + ".d/emulation.conf"); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "daemon-reload")
	const connections = 2000
	crowd(t, connections)
	acknowledgedSome(t, "connection", 2*connections) // both ends, and few others so far
	for unit, want := range map[string]map[string]string{
		sensorUnit:    {"memory.max": "402653184", "memory.high": "335544320", "cpu.max": "50000 100000", "pids.max": "128"},
		collectorUnit: {"memory.max": "1610612736", "pids.max": "512"},
	} {
		group := "/sys/fs/cgroup" + property(t, unit, "ControlGroup")
		read := func(file string) string {
			text, err := os.ReadFile(filepath.Join(group, file))
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(string(text))
		}
		for file, value := range want {
			if got := read(file); got != value {
				t.Errorf("%s: %s is %q, want %q", unit, file, got, value)
			}
		}
		if events := read("memory.events"); !strings.Contains(events, "\noom_kill 0") {
			t.Errorf("%s: %s", unit, events)
		}
		environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid(t, unit)))
		if err != nil {
			t.Fatal(err)
		}
		limit := regexp.MustCompile(`(?:^|\x00)GOMEMLIMIT=(\d+)MiB\x00`).FindSubmatch(environment)
		if limit == nil {
			t.Fatalf("%s has no GOMEMLIMIT", unit)
		}
		mib, _ := strconv.Atoi(string(limit[1]))
		most, _ := strconv.Atoi(read("memory.max"))
		if mib<<20 >= most {
			t.Errorf("%s: GOMEMLIMIT is %d MiB of %d", unit, mib, most>>20)
		}
		t.Logf("%s: memory %s B at most, of %s", unit, read("memory.peak"), read("memory.max"))
	}
}

// asNobody runs a program as a user without rights and returns what it says.
func asNobody(name string, arguments ...string) string {
	command := exec.Command(name, arguments...)
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, _ := command.CombinedOutput() // its failure is what is wanted
	return string(out)
}

// testALocalUser without rights reads neither spool nor keys, secrets and the
// environment of the services.
func testALocalUser(t *testing.T) {
	var spool, secrets []string
	if err := filepath.WalkDir("/var/lib/netview", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // what the collector has acknowledged meanwhile
		}
		spool = append(spool, path)
		return err
	}); err != nil || len(spool) < 3 {
		t.Fatalf("the spool has %v (%v)", spool, err)
	}
	for _, unit := range []string{sensorUnit, collectorUnit} {
		for _, file := range []string{"environ", "mem", "maps", "root/etc/passwd"} {
			secrets = append(secrets, fmt.Sprintf("/proc/%d/%s", pid(t, unit), file))
		}
	}
	for _, name := range []string{"server.key", "web-1.key", "collector.env", "sensor.env"} {
		secrets = append(secrets, filepath.Join("/etc/netview", name))
	}
	for _, file := range secrets {
		if _, err := os.Lstat(file); err != nil {
			t.Error(err)
		}
	}
	for _, file := range append(spool, secrets...) {
		if said := asNobody("cat", file); !strings.Contains(said, "Permission denied") {
			t.Errorf("anybody may read %s: %q", file, said)
		}
	}
	// Nor does one of the two users read what is the other's.
	for user, key := range map[string]string{"netview": "server.key", "netview-collector": "web-1.key"} {
		if out, err := exec.Command("su", "-s", "/bin/sh", user, "-c", "cat /etc/netview/"+key).CombinedOutput(); err == nil {
			t.Errorf("%s may read %s: %s", user, key, out)
		}
	}
}

// testRestart: both come back after a kill, and whole after a restart. The filter of
// system calls kills there what it only refuses otherwise: nothing meets it.
func testRestart(t *testing.T) {
	systemctl(t, "set-property", "--runtime", sensorUnit, "CPUQuota=200%") // emulated
	for _, unit := range []string{sensorUnit, collectorUnit} {
		before := pid(t, unit)
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testbin.Eventually(t, patience, func() string {
			if after := property(t, unit, "MainPID"); after == "0" || after == strconv.Itoa(before) {
				return unit + " does not come back after SIGKILL:\n" + journal(t, unit)
			}
			return ""
		})
	}
	acknowledged(t, "heartbeat")
	for _, unit := range []string{sensorUnit, collectorUnit} {
		dir := "/run/systemd/system/" + unit + ".d"
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/strict.conf", []byte("[Service]\nSystemCallErrorNumber=kill\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	systemctl(t, "daemon-reload")
	systemctl(t, "restart", sensorUnit, collectorUnit)
	acknowledged(t, "heartbeat")
	enabled(t)
	happen(t)
	acknowledged(t, "network_connect", "network_flow", "dns_query", "dns_lookup")
	for _, unit := range []string{sensorUnit, collectorUnit} {
		if n := property(t, unit, "NRestarts"); n != "0" { // since the last restart by hand
			t.Errorf("%s ended %s times where the filter kills:\n%s", unit, n, journal(t, unit))
		}
	}
	systemctl(t, "stop", sensorUnit, collectorUnit)
	for _, unit := range []string{sensorUnit, collectorUnit} {
		if result := property(t, unit, "Result"); result != "success" {
			t.Errorf("%s ends with %s:\n%s", unit, result, journal(t, unit))
		}
	}
}
