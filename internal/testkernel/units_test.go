package testkernel

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func TestMain(m *testing.M) { testbin.Main(m) }

// withSystemd is what NETVIEW_KERNEL calls the machine of [TestUnits].
const withSystemd = "6.12 with systemd"

// TestUnits starts the units of deploy/ under a systemd, in a machine whose collector
// writes to a ClickHouse here: internal/testunits says what is looked at. Each of its
// tests is reported as a test of its own.
func TestUnits(t *testing.T) {
	kernels := needed(t)
	m := Machine{Architecture: "amd64", Tools: "/", Kernel: filepath.Join(kernels, "6.12"), System: filepath.Join(kernels, "systemd"), CommandLine: "systemd.show_status=false"}
	for _, dir := range []string{m.Kernel, m.System} {
		if _, err := os.Stat(filepath.Join(dir, "complete")); err != nil {
			t.Skipf("the kernel or Debian's systemd is not there: %v (see make kernels)", err)
		}
	}
	if !regexp.MustCompile(os.Getenv("NETVIEW_KERNEL")).MatchString(withSystemd) {
		t.Skip("NETVIEW_KERNEL asks for another machine")
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skipf("%v: no certificates can be made", err)
	}
	dir := t.TempDir()
	pattern := cmp.Or(os.Getenv("NETVIEW_KERNEL_RUN"), ".")
	if name, _, _ := strings.Cut(pattern, "/"); !regexp.MustCompile(name).MatchString("TestUnits") {
		t.Skip("NETVIEW_KERNEL_RUN asks for other tests")
	}
	m.Programs = []Program{{Name: "testunits.test", Path: build(t, dir, "amd64", "internal/testunits"), Arguments: []string{"-test.v=test2json", "-test.timeout=28m", "-test.run=" + pattern}}}
	server := testch.Start(t)
	t.Parallel()

	const inside = "10.0.2.100:9000"
	m.Forward = map[string]string{inside: server.Options().TCPAddress}
	dsn := func(user string) string {
		return strings.Replace(server.DSN(user), server.Options().TCPAddress, inside, 1)
	}
	for name, text := range map[string]string{
		"collector.env": "NETVIEW_CLICKHOUSE_DSN=" + dsn(engine.Writer) + "\nNETVIEW_CLICKHOUSE_OWNER_DSN=" + dsn(engine.Owner) + "\n",
		"sensor.env": "NETVIEW_OTLP_ENDPOINT=grpcs://localhost:4317\nNETVIEW_OTLP_CA_FILE=/etc/netview/ca.crt\n" +
			"NETVIEW_OTLP_CERT_FILE=/etc/netview/web-1.crt\nNETVIEW_OTLP_KEY_FILE=/etc/netview/web-1.key\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, arguments := range [][]string{{"ca"}, {"server", "localhost", "netview-collector"}, {"sensor", "web-1"}} {
		if out, err := exec.Command("../../deploy/certificates.sh", append([]string{dir}, arguments...)...).CombinedOutput(); err != nil {
			t.Fatalf("certificates.sh %v: %v\n%s", arguments, err, out)
		}
	}
	m.Files = map[string]string{"setup": "../testunits/setup.sh"}
	for _, name := range []string{"netview-sensor.service", "netview-collector.service", "netview-sysusers.conf", "sensor-daemonset.yaml", "collector-tls.yaml", "access.yaml"} {
		m.Files["deploy/"+name] = "../../deploy/" + name
	}
	for _, name := range []string{"collector.env", "sensor.env", "ca.crt", "server.crt", "server.key", "web-1.crt", "web-1.key"} {
		m.Files["deploy/"+name] = filepath.Join(dir, name)
	}
	for _, name := range []string{"netview-sensor", "netview-collector"} {
		m.Files["deploy/"+name] = testbin.Path(t, name)
	}
	run(t, &m, regexp.MustCompile("^$"))

	// What the sensor told is stored.
	conn, err := clickhouse.Open(server.DSN(engine.Reader))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, kind := range []string{"network_connect", "network_accept", "network_listen", "network_flow", "dns_query", "dns_lookup", "lsm_net_connect"} {
		var rows uint64
		query := fmt.Sprintf("SELECT count() FROM netview.events WHERE sensor_id = 'web-1' AND kind = '%s'", kind)
		if err := conn.QueryRow(context.Background(), query).Scan(&rows); err != nil || rows == 0 {
			t.Errorf("ClickHouse has %d of %s (%v)", rows, kind, err)
		}
	}
}
