package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testca"
	"github.com/netview-project/netview/internal/testproc"
)

var update = flag.Bool("update", false, "write the golden exposition anew")

func TestMain(m *testing.M) { testbin.Main(m) }

// patience bounds every wait.
const patience = 60 * time.Second

// startSensor runs the sensor on a procfs and returns the URL of its web server.
func startSensor(t *testing.T, proc string, more ...string) (*testbin.Program, string) {
	t.Helper()
	address := testbin.FreeAddress(t)
	arguments := append([]string{"--no-ebpf", "--path.procfs", proc, "--sensor-id", "test", "--web.listen-address", address}, more...)
	return testbin.Start(t, "netview-sensor", nil, arguments...), "http://" + address
}

// get asks until the server answers at all.
func get(t *testing.T, client *http.Client, url string, header ...string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	var answer *http.Response
	testbin.Eventually(t, patience, func() string {
		if answer, err = client.Do(request); err != nil {
			return err.Error()
		}
		return ""
	})
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(text)
}

// ready waits for the first heartbeat.
func waitReady(t *testing.T, url string) {
	t.Helper()
	testbin.Eventually(t, patience, func() string {
		if code, _, text := get(t, http.DefaultClient, url+"/-/ready"); code != http.StatusOK {
			return text
		}
		return ""
	})
}

// host is a procfs with something for every family of metrics.
func host(t *testing.T) *testproc.Host {
	h := testproc.New(t)
	const any6 = "00000000000000000000000000000000"
	const here6, there6 = "B80D0120000000000000000001000000", "B80D0120000000000000000002000000"
	h.Socket("tcp", testproc.Any4, 443, testproc.Any4, 0, testproc.Listen, 1, true)
	h.Socket("tcp", testproc.Here, 443, testproc.There, 50001, testproc.Established, 2, true)
	h.Socket("tcp", testproc.Here, 443, testproc.There, 50002, testproc.CloseWait, 3, true)
	h.Socket("tcp", testproc.Loopback, 40001, testproc.Loopback, 443, testproc.Established, 4, true)
	h.Socket("tcp", testproc.Here, 40002, testproc.There, 80, testproc.Established, 5, false)
	h.Socket("tcp", testproc.Here, 443, testproc.There, 50003, testproc.TimeWait, 0, false)
	h.Raw("tcp", "   9: 010200C0:01BB 02020")
	h.Socket("tcp6", any6, 8443, any6, 0, testproc.Listen, 6, true)
	h.Socket("tcp6", here6, 8443, there6, 50004, testproc.Established, 7, true)
	h.Socket("udp", testproc.Any4, 2152, testproc.Any4, 0, testproc.Closed, 0, false) // the kernel's own
	h.Socket("udp", testproc.Any4, 8805, testproc.Any4, 0, testproc.Closed, 8, true)
	h.Socket("udp", testproc.Any4, 45000, testproc.Any4, 0, testproc.Closed, 9, true)
	h.Socket("udp6", any6, 1812, any6, 0, testproc.Closed, 10, true)
	h.Write()
	return h
}

// normalise replaces what differs between two runs and hosts.
func normalise(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE ")
		if !strings.HasPrefix(name, "netview_") || strings.HasPrefix(name, "netview_sensor_build_info") {
			continue
		}
		if !strings.HasPrefix(line, "#") {
			line = regexp.MustCompile(`(arch|host_name|kernel_release|version)="[^"]+"`).ReplaceAllString(line, `$1="…"`)
			// What the one who runs the test may do.
			line = regexp.MustCompile(`(feature="(?:mounted_namespaces|other_processes)",hook="",reason=)".*"(,.*) [01]`).ReplaceAllString(line, `$1"…"$2 …`)
			line = regexp.MustCompile(`^(\S+_(?:timestamp|duration|time)_seconds\S*) [0-9.e+-]+`).ReplaceAllString(line, "$1 …")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// TestGolden: the whole exposition of the built sensor over a procfs that holds
// something for each metric.
func TestGolden(t *testing.T) {
	_, url := startSensor(t, host(t).Proc, "--heartbeat.interval", "5m")
	waitReady(t, url)
	_, _, text := get(t, http.DefaultClient, url+"/metrics")
	got := normalise(text)
	const golden = "testdata/metrics.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the exposition differs from %s (`go test ./cmd/netview-sensor -update` writes it anew):\n%s", golden, got)
	}
	for _, name := range []string{"netview_sensor_build_info{", "process_cpu_seconds_total{", "process_resident_memory_bytes{", "process_open_fds{", "go_goroutines{"} {
		i := strings.Index(text, "\n"+name)
		if i < 0 || !strings.Contains(strings.SplitN(text[i+1:], "\n", 2)[0], `sensor_id="test"`) {
			t.Errorf("%s is missing or has no sensor_id", name)
		}
	}
}

// TestChurnIsCounted: a listener that comes and one that goes.
func TestChurnIsCounted(t *testing.T) {
	h := host(t)
	_, url := startSensor(t, h.Proc, "--heartbeat.interval", "1s")
	waitReady(t, url)
	h.Forget()
	h.Socket("tcp", testproc.Any4, 443, testproc.Any4, 0, testproc.Listen, 1, true)
	h.Socket("udp", testproc.Any4, 1813, testproc.Any4, 0, testproc.Closed, 20, true)
	h.Write()
	for _, want := range []string{
		`netview_listeners_vanished_total{sensor_id="test",transport="tcp"} 1`,
		`netview_listeners_vanished_total{sensor_id="test",transport="udp"} 3`,
		`netview_listeners_appeared_total{sensor_id="test",transport="udp"} 1`,
		`netview_telecom_listeners{port="1813",sensor_id="test",service="radius_accounting"} 1`,
		`netview_telecom_listeners{port="2152",sensor_id="test",service="gtp_u"} 0`,
	} {
		testbin.Eventually(t, patience, func() string {
			if _, _, text := get(t, http.DefaultClient, url+"/metrics"); !strings.Contains(text, want+"\n") {
				return "no " + want
			}
			return ""
		})
	}
}

// TestScrapeWaitsForNoHeartbeat: while a heartbeat hangs in the read of a file
// that gives nothing, a scrape answers with the one before, and /-/ready says
// that it gets old.
func TestScrapeWaitsForNoHeartbeat(t *testing.T) {
	h := host(t)
	_, url := startSensor(t, h.Proc, "--heartbeat.interval", "1s")
	waitReady(t, url)
	table := h.Path("100/task/100/net/udp")
	h.Must(syscall.Mkfifo(table+".fifo", 0o644), os.Rename(table+".fifo", table))
	var pipe *os.File
	testbin.Eventually(t, patience, func() string {
		// Without a reader this fails; with one the heartbeat hangs in it.
		fd, err := unix.Open(table, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return "the sensor does not read " + table + ": " + err.Error()
		}
		pipe = os.NewFile(uintptr(fd), table)
		return ""
	})
	const taken = "netview_heartbeat_taken_timestamp_seconds{"
	value := func() string {
		code, _, text := get(t, http.DefaultClient, url+"/metrics")
		i := strings.Index(text, "\n"+taken)
		if code != http.StatusOK || i < 0 || !strings.Contains(text, `netview_telecom_listeners{port="8805",sensor_id="test",service="pfcp"} 1`) {
			t.Fatalf("%d, and not the newest snapshot:\n%s", code, normalise(text))
		}
		return strings.SplitN(text[i+1:], "\n", 2)[0]
	}
	before := value()
	testbin.Eventually(t, patience, func() string {
		if code, _, text := get(t, http.DefaultClient, url+"/-/ready"); code != http.StatusServiceUnavailable || !strings.Contains(text, "old") {
			return fmt.Sprintf("/-/ready says %d: %s", code, text)
		}
		return ""
	})
	if after := value(); after != before {
		t.Errorf("a heartbeat was taken meanwhile: %s, then %s", before, after)
	}
	if code, _, _ := get(t, http.DefaultClient, url+"/-/healthy"); code != http.StatusOK {
		t.Errorf("/-/healthy says %d", code)
	}
	// Once the file answers the sensor goes on.
	h.Must(os.Remove(table), pipe.Close())
	h.Write()
	waitReady(t, url)
}

func TestPages(t *testing.T) {
	p, url := startSensor(t, host(t).Proc, "--web.telemetry-path", "/numbers", "--log.format", "json", "--log.level", "debug")
	waitReady(t, url)
	for path, want := range map[string]string{"/": `href="/numbers"`, "/numbers": "netview_connections{", "/-/healthy": "runs", "/-/ready": "current heartbeat"} {
		if code, _, text := get(t, http.DefaultClient, url+path); code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d without %q:\n%.500s", path, code, want, text)
		}
	}
	if code, _, _ := get(t, http.DefaultClient, url+"/metrics"); code != http.StatusNotFound {
		t.Errorf("/metrics is there (%d) beside --web.telemetry-path", code)
	}
	_, header, text := get(t, http.DefaultClient, url+"/numbers", "Accept", "application/openmetrics-text; version=1.0.0")
	if !strings.HasPrefix(header.Get("Content-Type"), "application/openmetrics-text; version=1.0.0") || !strings.HasSuffix(text, "# EOF\n") {
		t.Errorf("OpenMetrics: %s, ends with %q", header.Get("Content-Type"), text[max(0, len(text)-20):])
	}
	if said := p.Said(); !strings.Contains(said, `"msg":"Listening on"`) {
		t.Errorf("--log.format json says:\n%s", said)
	}
	p.Stop()
}

// TestMaxRequests: of many scrapes at once those that are too many are told so.
func TestMaxRequests(t *testing.T) {
	_, url := startSensor(t, host(t).Proc, "--web.max-requests", "1")
	waitReady(t, url)
	seen := map[int]int{}
	var mutex sync.Mutex
	testbin.Eventually(t, patience, func() string {
		var scrapes sync.WaitGroup
		for range 50 {
			scrapes.Go(func() {
				answer, err := http.Get(url + "/metrics")
				if err != nil {
					return
				}
				defer answer.Body.Close()
				mutex.Lock()
				defer mutex.Unlock()
				seen[answer.StatusCode]++
			})
		}
		scrapes.Wait()
		if seen[http.StatusOK] == 0 || seen[http.StatusServiceUnavailable] == 0 {
			return fmt.Sprintf("answers by code: %v, want 200 and 503", seen)
		}
		return ""
	})
	if len(seen) != 2 {
		t.Errorf("answers by code: %v", seen)
	}
}

// TestWebConfig tries TLS, client certificates and passwords.
func TestWebConfig(t *testing.T) {
	dir := t.TempDir()
	ca := testca.New(t, dir, "ca")
	stranger := testca.New(t, dir, "stranger")
	ca.Issue("server", "127.0.0.1")
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "web.yml")
	text := "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n" +
		"basic_auth_users:\n  prometheus: " + string(hash) + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, url := startSensor(t, host(t).Proc, "--web.config.file", config)
	https := strings.Replace(url, "http:", "https:", 1) + "/metrics"
	client := func(certificates ...tls.Certificate) *http.Client {
		roots := x509.NewCertPool()
		roots.AddCert(ca.Certificate)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certificates}, DisableKeepAlives: true}
		return &http.Client{Transport: transport}
	}
	known := client(ca.Issue("prometheus"))
	scrape := func(client *http.Client, password string) (int, error) {
		request, err := http.NewRequest(http.MethodGet, https, nil)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			request.SetBasicAuth("prometheus", password)
		}
		answer, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		answer.Body.Close()
		return answer.StatusCode, nil
	}
	testbin.Eventually(t, patience, func() string {
		if code, err := scrape(known, "right"); err != nil || code != http.StatusOK {
			return fmt.Sprintf("with certificate and password: %d, %v", code, err)
		}
		return ""
	})
	if code, err := scrape(known, "wrong"); err != nil || code != http.StatusUnauthorized {
		t.Errorf("with a wrong password: %d, %v", code, err)
	}
	if code, err := scrape(known, ""); err != nil || code != http.StatusUnauthorized {
		t.Errorf("without a password: %d, %v", code, err)
	}
	for name, client := range map[string]*http.Client{"without a certificate": client(), "with a stranger's certificate": client(stranger.Issue("prometheus"))} {
		if code, err := scrape(client, "right"); err == nil {
			t.Errorf("%s: %d, want no connection", name, code)
		}
	}
	if code, _, text := get(t, http.DefaultClient, url+"/metrics"); code != http.StatusBadRequest {
		t.Errorf("without TLS: %d %s", code, text)
	}
}

func TestRefusedFlags(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(broken, []byte("tls_server_config:\n  certificate: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, url := startSensor(t, host(t).Proc)
	waitReady(t, url)
	defer taken.Stop()
	empty := t.TempDir()
	tests := map[string]struct{ arguments, quotes []string }{
		"unknown flag":        {[]string{"--web.listen"}, []string{"--web.listen"}},
		"interval":            {[]string{"--heartbeat.interval", "1ms"}, []string{"heartbeat interval 1ms", "1s to 5m"}},
		"sensor id":           {[]string{"--sensor-id", "Host 1"}, []string{"Host 1", "a-z"}},
		"log level":           {[]string{"--log.level", "loud"}, []string{"loud"}},
		"endpoint":            {[]string{"--otlp.endpoint", "collector:4317"}, []string{"collector:4317", "grpc://"}},
		"token in the clear":  {[]string{"--otlp.endpoint", "grpc://h:4317", "--otlp.token-file", "/x"}, []string{"grpc://h:4317", "grpcs://HOST:4317"}},
		"no key":              {[]string{"--otlp.endpoint", "grpcs://h:4317", "--otlp.cert-file", "/x"}, []string{"key"}},
		"no certificate":      {[]string{"--otlp.endpoint", "https://h:4318", "--otlp.cert-file", "/nowhere.crt", "--otlp.key-file", "/nowhere.key"}, []string{"/nowhere.crt"}},
		"telemetry path":      {[]string{"--web.telemetry-path", "metrics"}, []string{"--web.telemetry-path", `"metrics"`, "/metrics"}},
		"max requests":        {[]string{"--web.max-requests=-1"}, []string{"--web.max-requests -1", "0 for any"}},
		"two faults":          {[]string{"--sensor-id", "A", "--heartbeat.interval", "1h"}, []string{`"A"`, "1h0m0s"}},
		"scrub rule":          {[]string{"--process.scrub", "("}, []string{"scrub rule", "missing closing )"}},
		"web config":          {[]string{"--web.config.file", broken}, []string{"--web.config.file " + broken, "certificate"}},
		"no web config":       {[]string{"--web.config.file", "/nowhere.yml"}, []string{"/nowhere.yml"}},
		"taken port":          {[]string{"--web.listen-address", strings.TrimPrefix(url, "http://")}, []string{strings.TrimPrefix(url, "http://"), "--web.listen-address"}},
		"procfs that is none": {[]string{"--path.procfs", empty}, []string{empty, "procfs"}},
		"no procfs":           {[]string{"--path.procfs", "/nowhere"}, []string{"/nowhere", "procfs"}},
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, func(t *testing.T) {
			arguments := tests[name].arguments
			if !slices.Contains(arguments, "--web.listen-address") {
				arguments = append(arguments, "--web.listen-address", testbin.FreeAddress(t))
			}
			p := testbin.Start(t, "netview-sensor", nil, arguments...)
			if code := p.Wait(); code != 1 {
				t.Errorf("exit %d, want 1", code)
			}
			for _, quote := range tests[name].quotes {
				if !strings.Contains(p.Said(), quote) {
					t.Errorf("says no %q", quote)
				}
			}
		})
	}
	p := testbin.Start(t, "netview-sensor", nil, "--version")
	if code := p.Wait(); code != 0 || !strings.Contains(p.Said(), "netview-sensor, version") {
		t.Errorf("--version: exit %d: %s", code, p.Said())
	}
}
