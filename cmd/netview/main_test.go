package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
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

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/netview-project/netview/cmd/netview/dsn"
	"github.com/netview-project/netview/cmd/netview/quickstart"
	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func TestMain(m *testing.M) { testbin.Main(m) }

// quickStart is `netview run` as a process, with its own state and ports.
type quickStart struct {
	t       *testing.T
	command *exec.Cmd
	state   string
	address map[string]string // by flag
	lines   chan string
	errors  bytes.Buffer
}

// patience bounds the waits of these tests.
const patience = 90 * time.Second

// flags of `netview run` with a port each.
var portFlags = []string{"metrics-address", "demo-metrics-address", "grpc-address", "http-address", "health-address", "collector-metrics-address", "clickhouse-tcp-address", "clickhouse-http-address"}

func newQuickStart(t *testing.T, state string) *quickStart {
	if _, err := os.Stat(testch.Library()); err != nil {
		t.Skipf("no ClickHouse engine: %v (run `make deps`)", err)
	}
	q := &quickStart{t: t, state: state, address: map[string]string{}, lines: make(chan string, 1000)}
	for _, flag := range portFlags {
		q.address[flag] = testbin.FreeAddress(t)
	}
	return q
}

func (q *quickStart) start(environment []string, more ...string) {
	q.t.Helper()
	arguments := append([]string{"run", "--state", q.state, "--collector-config", "../../deploy/collector.yaml"}, more...)
	for flag, value := range map[string]string{"--library": testch.Library(), "--sensor-id": "test", "--interval": "1s"} {
		if !slices.Contains(more, flag) {
			arguments = append(arguments, flag, value)
		}
	}
	for flag, address := range q.address {
		arguments = append(arguments, "--"+flag, address)
	}
	q.command = exec.Command(testbin.Path(q.t, "netview"), arguments...)
	q.command.Env = append(os.Environ(), environment...)
	q.command.Stderr = &q.errors
	q.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := q.command.StdoutPipe()
	if err != nil {
		q.t.Fatal(err)
	}
	if err := q.command.Start(); err != nil {
		q.t.Fatal(err)
	}
	q.lines = make(chan string, 1000)
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			q.lines <- scanner.Text()
		}
		close(q.lines)
	}()
	q.t.Cleanup(func() {
		_ = q.command.Process.Signal(syscall.SIGTERM) // most often it has ended
		for range q.lines {
		}
		_ = q.command.Wait()
	})
}

// until returns what was printed up to the first line that matches.
func (q *quickStart) until(pattern string) []string {
	q.t.Helper()
	match := regexp.MustCompile(pattern)
	var seen []string
	for timeout := time.After(patience); ; {
		select {
		case line, more := <-q.lines:
			if !more {
				err := q.command.Wait()
				q.t.Fatalf("netview ended (%v) before it printed %q:\n%s\n%s", err, pattern, strings.Join(seen, "\n"), &q.errors)
			}
			if seen = append(seen, line); match.MatchString(line) {
				return seen
			}
		case <-timeout:
			q.t.Fatalf("netview does not print %q:\n%s", pattern, strings.Join(seen, "\n"))
		}
	}
}

// heartbeat is the line that stands for one heartbeat of these tests' sensor.
const heartbeat = `^\d\d:\d\d:\d\d  test  connections \d+ .*rows stored [1-9]`

// stop sends a signal and returns the exit code.
func (q *quickStart) stop(signal os.Signal) int {
	q.t.Helper()
	if err := q.command.Process.Signal(signal); err != nil {
		q.t.Fatal(err)
	}
	return q.end()
}

// end waits for the end and returns the exit code.
func (q *quickStart) end() int {
	q.t.Helper()
	for range q.lines {
	}
	_ = q.command.Wait() // its code is what counts
	return q.command.ProcessState.ExitCode()
}

// processes are those whose command line or environment names the state folder.
func (q *quickStart) processes() (found []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		line, _ := os.ReadFile(file)
		environment, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "environ"))
		if filepath.Dir(file) != fmt.Sprintf("/proc/%d", os.Getpid()) && (bytes.Contains(line, []byte(q.state)) || bytes.Contains(environment, []byte(q.state)) || bytes.Contains(environment, []byte(q.address["grpc-address"]))) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// gone waits for the end of every process of the quick start.
func (q *quickStart) gone() {
	q.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); len(q.processes()) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			q.t.Fatalf("left running:\n%s", strings.Join(q.processes(), "\n"))
		}
	}
}

// reader connects to the embedded ClickHouse as the user who started it can.
func (q *quickStart) reader() driver.Conn {
	q.t.Helper()
	address, err := dsn.FromFile(engine.DSNFile(quickstart.ClickHouseData(q.state), engine.Reader))
	if err != nil {
		q.t.Fatal(err)
	}
	conn, err := clickhouse.Open(address)
	if err != nil {
		q.t.Fatal(err)
	}
	q.t.Cleanup(func() { conn.Close() })
	return conn
}

func (q *quickStart) number(query string) uint64 { return answer[uint64](q, query) }
func (q *quickStart) text(query string) string   { return answer[string](q, query) }

// answer is the one value that a query returns.
func answer[T any](q *quickStart, query string) (value T) {
	q.t.Helper()
	if err := q.reader().QueryRow(context.Background(), query).Scan(&value); err != nil {
		q.t.Fatal(err)
	}
	return value
}

func TestQuickStart(t *testing.T) {
	q := newQuickStart(t, t.TempDir())
	q.start(nil)
	printed := q.until(heartbeat)

	// What it says to look at is there.
	var urls, queries int
	for _, line := range printed {
		if strings.HasPrefix(strings.TrimSpace(line), "curl ") {
			queries++
			if _, err := exec.LookPath("curl"); err != nil {
				t.Logf("not tried: %v: %s", err, line)
				continue
			}
			if out, err := exec.Command("bash", "-c", strings.Replace(line, "curl ", "curl --silent --show-error --fail-with-body ", 1)).CombinedOutput(); err != nil || len(out) == 0 {
				t.Errorf("%s\n%v: %s", line, err, out)
			}
		}
		if match := regexp.MustCompile(`^ +(\S+/netview) (query .*)$`).FindStringSubmatch(line); match != nil {
			queries++
			if out, err := exec.Command(match[1], strings.Fields(match[2])...).CombinedOutput(); err != nil || !strings.Contains(string(out), " rows") {
				t.Errorf("%s\n%v: %s", line, err, out)
			}
		}
		if match := regexp.MustCompile(`http://\S+/metrics`).FindString(line); match != "" {
			urls++
			checkMetrics(t, match, `netview_connections{direction="outbound"`, "netview_heartbeat_acknowledged_timestamp_seconds{", "netview_heartbeat_taken_timestamp_seconds{", `netview_listeners{family="ipv4",sensor_id="test",transport="tcp"} `)
		}
	}
	if urls != 1 || queries < 3 {
		t.Errorf("%d metrics URLs and %d queries to paste in\n%s", urls, queries, strings.Join(printed, "\n"))
	}
	// Who has not read the password, as another user of this host, reads nothing.
	for _, user := range []string{"", engine.Reader, engine.Writer, engine.Owner} {
		answer, err := http.Get("http://" + q.address["clickhouse-http-address"] + "/?user=" + user + "&query=SELECT+1")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			t.Errorf("without a password the user %q reads", user)
		}
	}
	q.until(heartbeat) // the first was taken before the sensor had connected
	// The sensor sees the collector's port with its process.
	_, port, _ := net.SplitHostPort(q.address["grpc-address"])
	if n := q.number("SELECT count() FROM netview.snapshot_listeners WHERE transport = 'tcp' AND endsWith(binary, '/netview-collector') AND local_port = " + port); n == 0 {
		t.Error("the collector's listener is not in ClickHouse with its process")
	}
	if n := q.number("SELECT count() FROM netview.snapshot_connections WHERE remote_port = " + port + " AND endsWith(binary, '/netview-sensor') AND direction = 'outbound' AND state = 'established'"); n == 0 {
		t.Error("the sensor's connection to the collector is not in ClickHouse with its process")
	}

	if code := q.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("after SIGTERM it exits %d: %s", code, &q.errors)
	}
	q.gone()

	q.start(nil)
	q.until(heartbeat)
	// The first may be of the first session: what it left in its spool.
	testbin.Eventually(t, 30*time.Second, func() string {
		if n := q.number("SELECT uniqExact(session) FROM netview.heartbeats"); n != 2 {
			return fmt.Sprintf("%d sessions in ClickHouse after the second start, want both", n)
		}
		return ""
	})
	if code := q.stop(os.Interrupt); code != 0 {
		t.Errorf("after Ctrl-C it exits %d: %s", code, &q.errors)
	}
	q.gone()
}

// checkMetrics runs promtool on a live scrape, and looks for texts in it.
func checkMetrics(t *testing.T, url string, wanted ...string) {
	t.Helper()
	promtool := os.Getenv("NETVIEW_PROMTOOL")
	if promtool == "" {
		t.Log("not checked with promtool: NETVIEW_PROMTOOL names none (`make test` does)")
		return
	}
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, metric := range wanted {
		if !strings.Contains(string(text), metric) {
			t.Errorf("the scrape has no %s", metric)
		}
	}
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = bytes.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// TestDemo: the fleet comes with an hour behind it, in which each story is told, and goes
// on; the lines are those of the host's own sensor.
func TestDemo(t *testing.T) {
	q := newQuickStart(t, t.TempDir())
	q.start(nil, "--demo", "--interval", "5s")
	q.until(heartbeat)
	const sensors = 24
	count := func(query string) uint64 { return q.number("SELECT count() FROM (" + query + ")") }
	testbin.Eventually(t, 4*patience, func() string {
		if n := count("SELECT sensor_id FROM netview.heartbeats WHERE startsWith(sensor_id, 'generated-') AND timestamp > now64(3, 'UTC') - INTERVAL 15 SECOND GROUP BY sensor_id"); n < sensors {
			return fmt.Sprintf("%d of %d sensors are there now", n, sensors)
		}
		return ""
	})
	for story, query := range map[string]string{
		"a scan":                "SELECT sensor_id FROM netview.events WHERE kind = 'network_connect' AND result = 'refused' GROUP BY sensor_id HAVING uniqExact(destination_port) > 1000",
		"a crowd":               "SELECT sensor_id FROM netview.heartbeats WHERE startsWith(sensor_id, 'generated-web') GROUP BY sensor_id HAVING max(connections) > 5 * min(connections)",
		"a DNS outage":          "SELECT toStartOfInterval(timestamp, INTERVAL 20 SECOND) AS t FROM netview.events WHERE kind = 'dns_query' GROUP BY t HAVING count() > 20 AND countIf(rcode = 'NOERROR') * 4 < count()",
		"a UPF without a GTP-U": "SELECT sensor_id FROM netview.snapshot_listeners WHERE startsWith(sensor_id, 'generated-upf') GROUP BY sensor_id HAVING uniqExactIf(heartbeat, local_port = 2152) + 10 < uniqExact(heartbeat)",
		"live flows":            "SELECT sensor_id FROM netview.flows(sensor_id = '', at = now64(3, 'UTC')) WHERE startsWith(sensor_id, 'generated-') LIMIT 1",
	} {
		if count(query) == 0 {
			t.Errorf("nothing is told of %s", story)
		}
	}
	// From the first heartbeat that was made: the sessions are older. All go on meanwhile,
	// so each is to be seen whole once.
	since := q.text("SELECT toString(min(timestamp)) FROM netview.heartbeats WHERE startsWith(sensor_id, 'generated-')")
	whole := map[string]bool{}
	testbin.Eventually(t, patience, func() string {
		reconciled := q.text("SELECT arrayStringConcat(groupArrayIf(sensor_id, stored > 0 AND gone = 0 AND unexplained = 0), ' ') FROM netview.reconciliation(sensor_id = '', since = toDateTime64('" + since + "', 3, 'UTC')) WHERE startsWith(sensor_id, 'generated-')")
		for _, sensor := range strings.Fields(reconciled) {
			whole[sensor] = true
		}
		if len(whole) != sensors {
			return fmt.Sprintf("of %d sensors of %d every record is there", len(whole), sensors)
		}
		return ""
	})
	checkMetrics(t, "http://"+q.address["demo-metrics-address"]+"/metrics", `netview_connections{direction="inbound",family="ipv4",sensor_id="generated-upf-0014",`, "netview_dns_latency_seconds_bucket{", "netview_heartbeat_acknowledged_timestamp_seconds{")
	for _, line := range q.until(heartbeat) {
		if strings.Contains(line, "generated-") {
			t.Errorf("a line of a generated sensor: %s", line)
		}
	}
	if code := q.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d: %s", code, &q.errors)
	}
	q.gone()
}

// TestQuickStartKilled: kill -9 of the program that started the parts ends them too.
func TestQuickStartKilled(t *testing.T) {
	q := newQuickStart(t, t.TempDir())
	q.start(nil)
	q.until(heartbeat)
	q.stop(syscall.SIGKILL)
	q.gone()
}

// TestPartKilled: a part that dies ends the rest, with its name and its log.
func TestPartKilled(t *testing.T) {
	q := newQuickStart(t, t.TempDir())
	q.start(nil)
	q.until(heartbeat)
	killed := false
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, _ := os.ReadFile(file)
		fields := strings.Fields(string(text))
		if len(fields) > 3 && fields[1] == "(netview-sensor)" && fields[3] == strconv.Itoa(q.command.Process.Pid) {
			pid, _ := strconv.Atoi(fields[0])
			killed = syscall.Kill(pid, syscall.SIGKILL) == nil
		}
	}
	if !killed {
		t.Fatal("no sensor to kill")
	}
	if code := q.end(); code != 1 || !strings.Contains(q.errors.String(), "netview-sensor ended by itself (signal: killed)") {
		t.Errorf("exit %d: %s", code, &q.errors)
	}
	q.gone()
}

func TestRefusals(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(secret, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	running := newQuickStart(t, t.TempDir())
	running.start(nil)
	running.until("Starting netview-collector")
	type change = func(q *quickStart) (environment, arguments []string)
	flags := func(arguments ...string) change {
		return func(*quickStart) ([]string, []string) { return nil, arguments }
	}
	variables := func(environment ...string) change {
		return func(*quickStart) ([]string, []string) { return environment, nil }
	}
	for name, tt := range map[string]struct {
		change change
		quotes []string
	}{
		"taken port": {func(q *quickStart) ([]string, []string) {
			q.address["clickhouse-http-address"] = running.address["clickhouse-http-address"]
			return nil, nil
		}, []string{running.address["clickhouse-http-address"], "not free", "--clickhouse-http-address"}},
		"second run": {func(q *quickStart) ([]string, []string) {
			q.state = running.state
			return nil, nil
		}, []string{"runs already", running.state, "--state"}},
		"state that cannot be written": {func(q *quickStart) ([]string, []string) {
			q.state = "/proc/netview"
			return nil, nil
		}, []string{"/proc/netview", "--state"}},
		"no engine":             {flags("--library", "/nowhere/libchdb.so"), []string{"/nowhere/libchdb.so", "make deps"}},
		"no programs":           {flags("--bin", "/nowhere"), []string{"/nowhere/netview-clickhouse", "make build"}},
		"bad sensor id":         {flags("--sensor-id", "Host 1"), []string{"netview-sensor ended", "Host 1", "a-z"}},
		"password in the flags": {flags("--clickhouse-dsn", "clickhouse://u:hunter2@127.0.0.1:9000"), []string{"--clickhouse-dsn", "password", "NETVIEW_CLICKHOUSE_DSN_FILE"}},
		"password in the query": {flags("--clickhouse-dsn", "clickhouse://127.0.0.1:9000?username=u&password=hunter2"), []string{"--clickhouse-dsn", "password"}},
		"no DSN":                {variables("NETVIEW_CLICKHOUSE_DSN=hunter2"), []string{"NETVIEW_CLICKHOUSE_DSN", "clickhouse://USER"}},
		"no DSN in the file":    {variables("NETVIEW_CLICKHOUSE_DSN_FILE=" + secret), []string{"NETVIEW_CLICKHOUSE_DSN_FILE", "clickhouse://USER"}},
		"no file":               {variables("NETVIEW_CLICKHOUSE_DSN_FILE=/nowhere"), []string{"NETVIEW_CLICKHOUSE_DSN_FILE", "/nowhere"}},
		"both":                  {variables("NETVIEW_CLICKHOUSE_DSN=clickhouse://h", "NETVIEW_CLICKHOUSE_DSN_FILE="+secret), []string{"both", "NETVIEW_CLICKHOUSE_DSN"}},
		"owner alone":           {variables("NETVIEW_CLICKHOUSE_OWNER_DSN=clickhouse://h"), []string{"NETVIEW_CLICKHOUSE_OWNER_DSN", "NETVIEW_CLICKHOUSE_DSN"}},
		"other database":        {flags("--database", "mine"), []string{"--database", "mine"}},
	} {
		t.Run(name, func(t *testing.T) {
			q := newQuickStart(t, t.TempDir())
			environment, arguments := tt.change(q)
			q.start(environment, arguments...)
			code := q.end()
			for _, quote := range tt.quotes {
				if code != 1 || !strings.Contains(q.errors.String(), quote) || strings.Contains(q.errors.String(), "hunter2") {
					t.Errorf("exit %d: %swant it to name %q and no password", code, &q.errors, quote)
				}
			}
			if q.state != running.state {
				q.gone()
			}
		})
	}
}

// TestAnotherClickHouse uses a server by DSNs from the environment and a file.
func TestAnotherClickHouse(t *testing.T) {
	q := newQuickStart(t, t.TempDir())
	ch := testch.Start(t)
	file := filepath.Join(t.TempDir(), "owner.dsn")
	if err := os.WriteFile(file, []byte(ch.DSN(engine.Owner)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	q.start([]string{"NETVIEW_CLICKHOUSE_DSN=" + ch.DSN(engine.Writer), "NETVIEW_CLICKHOUSE_OWNER_DSN_FILE=" + file, "NETVIEW_CLICKHOUSE_READER_DSN=" + ch.DSN(engine.Reader)})
	printed := q.until(heartbeat)
	if slices.ContainsFunc(printed, func(line string) bool { return strings.Contains(line, "Starting netview-clickhouse") }) {
		t.Error("the embedded ClickHouse was started beside the given one")
	}
	if code := q.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d: %s", code, &q.errors)
	}
	q.gone()
}
