// Package testunits tries the systemd units and the security context of deploy/ where
// they are what the sensor and the collector run under: in a virtual machine of
// internal/testkernel, for which setup.sh installs them.
package testunits

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
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

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/net/dns/dnsmessage"
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

func systemctl(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := exec.Command("systemctl", arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %v: %v: %s\n%s", arguments, err, out, journal(t, arguments[len(arguments)-1]))
	}
	return strings.TrimSpace(string(out))
}

// property of a unit.
func property(t *testing.T, unit, name string) string {
	t.Helper()
	return systemctl(t, "show", "--property", name, "--value", unit)
}

// journal is what a unit has logged.
func journal(t *testing.T, unit string) string {
	t.Helper()
	out, err := exec.Command("journalctl", "--no-pager", "--output", "cat", "--unit", unit).CombinedOutput()
	if err != nil {
		t.Fatalf("journalctl: %v: %s", err, out)
	}
	return string(out)
}

func pid(t *testing.T, unit string) int {
	t.Helper()
	n, err := strconv.Atoi(property(t, unit, "MainPID"))
	if err != nil || n == 0 {
		t.Fatalf("%s has no process (%v):\n%s", unit, err, journal(t, unit))
	}
	return n
}

// scrape returns what the sensor shows.
func scrape() (map[string]*dto.MetricFamily, error) {
	answer, err := http.Get(sensorMetrics)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}

// label of a metric.
func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// acknowledged waits until the collector has acknowledged records of these kinds
// since the sensor started.
func acknowledged(t *testing.T, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		acknowledgedSome(t, kind, 1)
	}
}

// acknowledgedSome waits for at least so many records of a kind.
func acknowledgedSome(t *testing.T, kind string, least float64) {
	t.Helper()
	testbin.Eventually(t, patience, func() string {
		families, err := scrape()
		if err == nil {
			err = fmt.Errorf("fewer than %.0f records of the kind %s are acknowledged", least, kind)
		}
		for _, m := range families["netview_records_acknowledged_total"].GetMetric() {
			if label(m, "kind") == kind && m.GetCounter().GetValue() >= least {
				return ""
			}
		}
		return fmt.Sprintf("%v\n%s\n%s", err, journal(t, sensorUnit), journal(t, collectorUnit))
	})
}

// crowd holds connections over loopback until the test ends.
func crowd(t *testing.T, connections int) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	for range connections {
		client, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close(); server.Close() })
	}
}

// promised are the features that docs/rights.md has, with those that rest on its
// rights alone.
func promised() (features []string) {
	for _, r := range rights.Table() {
		features = append(features, r.Features...)
	}
	features = append(features, "spool", "socket_tables", "processes")
	slices.Sort(features)
	return slices.Compact(features)
}

// enabled fails for each promised feature that the sensor does not show as on, but for
// those that must be off.
func enabled(t *testing.T, off ...string) {
	t.Helper()
	families, err := scrape()
	if err != nil {
		t.Fatal(err)
	}
	on := map[string]bool{}
	for _, m := range families["netview_feature_enabled"].GetMetric() {
		name := label(m, "feature")
		if on[name] = m.GetGauge().GetValue() == 1; on[name] == slices.Contains(off, name) {
			t.Errorf("%s is on: %t: %s", name, on[name], label(m, "reason"))
		}
	}
	for _, feature := range promised() {
		if _, known := on[feature]; !known {
			t.Errorf("the metrics have no feature %s", feature)
		}
	}
}

// happen makes what the sensor shall tell: a connection, a question to a resolver, a
// lookup, and the end of the connection.
func happen(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(conn, conn)
			conn.Close()
		}
	}()
	conn, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte("hello"))
	conn.Close()
	<-done

	server, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go answer(server)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", "127.0.0.1:53")
	}}
	if _, err := resolver.LookupNetIP(t.Context(), "ip4", "served.example."); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("getent", "ahosts", "127.0.0.1").CombinedOutput(); err != nil {
		t.Fatalf("getent: %v: %s", err, out)
	}
}

// answer is a resolver that knows one address.
func answer(server net.PacketConn) {
	question := make([]byte, 512)
	for {
		n, from, err := server.ReadFrom(question)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if message.Unpack(question[:n]) != nil || len(message.Questions) != 1 {
			continue
		}
		message.Response, message.Additionals = true, nil
		message.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: message.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
		if packed, err := message.Pack(); err == nil {
			_, _ = server.WriteTo(packed, from)
		}
	}
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
	unit := strings.NewReplacer("ExecStart=/usr/bin/netview-sensor\n", "ExecStart=/usr/bin/netview-sensor check --format json\nType=oneshot\n", "Restart=always\n", "").Replace(string(text))
	if err := os.WriteFile("/run/systemd/system/netview-check.service", []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "daemon-reload")
	systemctl(t, "start", "netview-check.service")
	said := journal(t, "netview-check.service")
	_, said, _ = strings.Cut(said, "{")
	var report sensor.Report
	if err := json.NewDecoder(strings.NewReader("{" + said)).Decode(&report); err != nil {
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
	var secrets []string
	if err := filepath.WalkDir("/var/lib/netview", func(path string, entry fs.DirEntry, err error) error {
		secrets = append(secrets, path)
		return err
	}); err != nil || len(secrets) < 3 {
		t.Fatalf("the spool has %v (%v)", secrets, err)
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
