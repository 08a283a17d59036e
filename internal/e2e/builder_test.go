package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

const manifest = "../../deploy/builder.yaml"

// component is an entry of the manifest.
type component struct{ module, version string }

// readManifest returns the manifest, the modules in it, and the builder that its
// first lines name.
func readManifest(t *testing.T) (conf map[string]any, components []component, builder string) {
	t.Helper()
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if builder = regexp.MustCompile(`go\.opentelemetry\.io/collector/cmd/builder@v[0-9.]+`).FindString(string(text)); builder == "" {
		t.Fatalf("%s does not name the builder that reads it", manifest)
	}
	loaded, err := confmaptest.LoadConf(manifest)
	if err != nil {
		t.Fatal(err)
	}
	conf = loaded.ToStringMap()
	for _, section := range conf {
		entries, _ := section.([]any)
		for _, entry := range entries {
			module, version, _ := strings.Cut(fmt.Sprint(entry.(map[string]any)["gomod"]), " ")
			components = append(components, component{module, version})
		}
	}
	return conf, components, builder
}

// TestManifestVersions: the manifest builds what go.mod builds.
func TestManifestVersions(t *testing.T) {
	_, components, builder := readManifest(t)
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) >= 2 {
			versions[fields[0]] = fields[1]
		}
	}
	if _, version, _ := strings.Cut(builder, "@"); version != versions["go.opentelemetry.io/collector"] {
		t.Errorf("the manifest is for %s, go.mod has the Collector %s", builder, versions["go.opentelemetry.io/collector"])
	}
	netview := false
	for _, c := range components {
		if c.module == "github.com/netview-project/netview" {
			netview = true // from the checkout
		} else if c.version != versions[c.module] {
			t.Errorf("the manifest has %s %s, go.mod has %q", c.module, c.version, versions[c.module])
		}
	}
	if !netview {
		t.Errorf("the manifest has no netview: %v", components)
	}
}

// offline are words in the go command's errors where it cannot reach a proxy.
var offline = regexp.MustCompile(`dial tcp|no such host|proxyconnect|i/o timeout|connection refused|disabled by GOPROXY=off|network is unreachable`)

// command runs the go command or skips the test where modules cannot be had.
func command(t *testing.T, dir string, arguments ...string) {
	t.Helper()
	c := exec.Command("go", arguments...)
	c.Dir = dir
	// As the Makefile builds, so that the compiled packages are shared. The
	// builder leaves a directory behind.
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "TMPDIR="+t.TempDir())
	if out, err := c.CombinedOutput(); err != nil {
		if offline.Match(out) {
			t.Skipf("modules cannot be fetched: go %s: %v\n%s", strings.Join(arguments, " "), err, out)
		}
		t.Fatalf("go %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
}

// buildCollector builds the manifest's collector in a temporary directory; it is
// read as it stands, but for the place of the output.
func buildCollector(t *testing.T) string {
	t.Helper()
	conf, _, builder := readManifest(t)
	output := filepath.Join(t.TempDir(), "builder")
	dist := conf["dist"].(map[string]any)
	dist["output_path"] = output
	text, err := json.Marshal(conf) // which is YAML, too
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "builder.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "../..", "run", builder, "--config", file, "--skip-compilation")
	name := fmt.Sprint(dist["name"])
	command(t, output, "build", "-o", name, ".")
	return filepath.Join(output, name)
}

// TestBuilder: a collector that somebody builds with the receiver stores
// netview's records and hands the others on.
func TestBuilder(t *testing.T) {
	ch := testch.Start(t)
	binary := buildCollector(t)
	otlp, health := testbin.FreeAddress(t), testbin.FreeAddress(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
extensions:
  health_check:
    use_v2: true
    http: {endpoint: %q, status: {enabled: true, path: /}}
    component_health: {include_permanent_errors: true, include_recoverable_errors: true, recovery_duration: 0s}
receivers:
  netview:
    forward: true
    protocols: {grpc: {endpoint: %q}}
    clickhouse: {dsn: "${env:NETVIEW_CLICKHOUSE_DSN}", schema: {dsn: "${env:NETVIEW_CLICKHOUSE_OWNER_DSN}"}}
exporters:
  debug: {verbosity: detailed}
service:
  extensions: [health_check]
  pipelines:
    logs: {receivers: [netview], exporters: [debug]}
  telemetry: {metrics: {level: none}}
`, health, otlp), 0o600); err != nil {
		t.Fatal(err)
	}
	collector := testbin.StartFile(t, binary, []string{"NETVIEW_CLICKHOUSE_DSN=" + ch.DSN(engine.Writer), "NETVIEW_CLICKHOUSE_OWNER_DSN=" + ch.DSN(engine.Owner)},
		"--feature-gates=extension.healthcheck.useComponentStatus", "--config", config)
	eventually(t, func() string {
		if code, text := get("http://" + health + "/"); code != http.StatusOK {
			return fmt.Sprintf("the collector's health is %d %s", code, text)
		}
		return ""
	})

	heartbeat := &event.Heartbeat{Envelope: event.Envelope{Resource: event.Resource{SensorID: "built", Session: uuid.New(), HostName: "h1"}, Sequence: 1, Timestamp: time.Now()},
		Heartbeat: 1, Mode: event.ModeCompatibility, Interval: time.Second}
	logs := event.Encode([]event.Event{heartbeat})
	logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr("somebody's log line")
	conn, err := grpc.NewClient(otlp, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	response, err := plogotlp.NewGRPCClient(conn).Export(context.Background(), plogotlp.NewExportRequestFromLogs(logs))
	if err != nil || response.PartialSuccess().RejectedLogRecords() != 0 {
		t.Fatalf("the two records are answered with %v %s", err, response.PartialSuccess().ErrorMessage())
	}
	r := &road{t: t, clickhouse: ch}
	if n := r.number("SELECT count() FROM netview.heartbeats WHERE sensor_id = 'built'"); n != 1 {
		t.Errorf("%d heartbeats stored, want the one that was sent", n)
	}
	if n := r.number("SELECT count() FROM netview.quarantine"); n != 0 {
		t.Errorf("%d records in quarantine, want none", n)
	}
	eventually(t, func() string {
		if !strings.Contains(collector.Said(), "somebody's log line") {
			return "the other record did not come to the exporter"
		}
		return ""
	})
	collector.Stop()
}
