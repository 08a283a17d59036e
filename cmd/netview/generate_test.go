package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// TestGenerate: a fleet comes through the receiver, also through one that is not
// there yet; again, or inside of ClickHouse, the same fleet adds nothing.
func TestGenerate(t *testing.T) {
	ch := testch.Start(t)
	conn, err := clickhouse.Open(ch.DSN(engine.Reader))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	number := func(query string) (n uint64) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
			t.Fatalf("%v\n%s", err, query)
		}
		return n
	}
	grpc := testbin.FreeAddress(t)
	generate := func(more ...string) *testbin.Program {
		return testbin.Start(t, "netview", nil, append([]string{"generate", "--endpoint", "grpc://" + grpc, "--sensors", "5", "--connections", "10"}, more...)...)
	}
	start := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	bounded := []string{"--heartbeats", "20", "--start", start}

	first := generate(bounded...)
	testbin.Eventually(t, patience, func() string {
		if said := first.Said(); !strings.Contains(said, "it is tried again") {
			return "nothing is said of a receiver that is not there:\n" + said
		}
		return ""
	})
	_, metrics, _ := net.SplitHostPort(testbin.FreeAddress(t))
	testbin.Start(t, "netview-collector", []string{
		"NETVIEW_CLICKHOUSE_DSN=" + ch.DSN(engine.Writer), "NETVIEW_CLICKHOUSE_OWNER_DSN=" + ch.DSN(engine.Owner),
		"NETVIEW_OTLP_GRPC_ENDPOINT=" + grpc, "NETVIEW_OTLP_HTTP_ENDPOINT=" + testbin.FreeAddress(t), "NETVIEW_HEALTH_ENDPOINT=" + testbin.FreeAddress(t), "NETVIEW_COLLECTOR_METRICS_PORT=" + metrics,
	}, "--config", "../../deploy/collector.yaml")
	if code := first.Wait(); code != 0 || !strings.Contains(first.Said(), "100 heartbeats") {
		t.Fatalf("exit %d:\n%s", code, first.Said())
	}
	const rows = "SELECT count() FROM netview.snapshot_connections FINAL"
	there := number(rows)
	if beats := number("SELECT count() FROM netview.heartbeats"); beats != 100 || there == 0 {
		t.Fatalf("%d heartbeats, %d connections", beats, there)
	}

	file := filepath.Join(t.TempDir(), "writer.dsn")
	if err := os.WriteFile(file, []byte(ch.DSN(engine.Writer)), 0o600); err != nil {
		t.Fatal(err)
	}
	again, inside := generate(bounded...), testbin.Start(t, "netview", []string{"NETVIEW_CLICKHOUSE_DSN_FILE=" + file}, append([]string{"generate", "--inside", "--sensors", "5", "--connections", "10"}, bounded...)...)
	for _, p := range []*testbin.Program{again, inside} {
		if code := p.Wait(); code != 0 {
			t.Fatalf("exit %d:\n%s", code, p.Said())
		}
	}
	if now := number(rows); now != there {
		t.Errorf("the same fleet made %d connections, and then %d", there, now)
	}
	if now := number("SELECT count() FROM netview.heartbeats FINAL"); now != 100 {
		t.Errorf("%d heartbeats, want 100", now)
	}

	// In real time it goes on until it is told to stop.
	live := generate("--real-time", "--interval", "1s", "--seed", "2")
	testbin.Eventually(t, patience, func() string {
		if n := number("SELECT uniqExact(sensor_id) FROM (SELECT sensor_id FROM netview.heartbeats WHERE interval_secs = 1 GROUP BY sensor_id HAVING count() >= 3)"); n != 5 {
			return fmt.Sprintf("%d of 5 sensors have three heartbeats\n%s", n, live.Said())
		}
		return ""
	})
	_ = live.Command.Process.Signal(syscall.SIGINT)
	if code := live.Wait(); code != 0 {
		t.Errorf("exit %d:\n%s", code, live.Said())
	}
	if future := number("SELECT countIf(timestamp > received + INTERVAL 1 SECOND OR timestamp < received - INTERVAL 5 SECOND) FROM netview.heartbeats WHERE interval_secs = 1"); future != 0 {
		t.Errorf("%d heartbeats did not come at their time", future)
	}
}

func TestGenerateBadInput(t *testing.T) {
	for want, arguments := range map[string]string{
		"3000 sensors: use 1 to 2000":      "--sensors 3000",
		"--start \"yesterday\" is no time": "--start yesterday",
		"--from is 9":                      "--heartbeats 4 --from 9",
		"--from 0: heartbeats count from":  "--from 0",
		"--in-flight 0":                    "--in-flight 0",
		"leave --real-time out":            "--inside --real-time",
		"leave --metrics-address out":      "--inside --metrics-address 127.0.0.1:0",
		"leave --stories out":              "--inside --stories",
		"NETVIEW_CLICKHOUSE_DSN":           "--inside",
		"OTLP endpoint \"ftp://x\"":        "--endpoint ftp://x",
		"an interval of 1ms":               "--interval 1ms",
		"--clickhouse-dsn holds a passwo":  "--inside --clickhouse-dsn clickhouse://a:b@127.0.0.1:1",
	} {
		command := exec.Command(testbin.Path(t, "netview"), append([]string{"generate"}, strings.Fields(arguments)...)...)
		out, err := command.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("generate %s: %v, want an error about %q:\n%s", arguments, err, want, out)
		}
	}
}
