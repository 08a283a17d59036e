// Package attack tries the built collector as a stranger on the network, a sensor
// that somebody has taken over, and a local user without rights would, while an
// honest sensor sends to it.
package attack

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testca"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/internal/testproc"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func TestMain(m *testing.M) { testbin.Main(m) }

// patience bounds every wait.
const patience = 90 * time.Second

func eventually(t *testing.T, f func() string) {
	t.Helper()
	testbin.Eventually(t, patience, f)
}

// fort is a collector as deploy/ has it for a network, with certificates as the
// script there makes them.
type fort struct {
	t                   *testing.T
	clickhouse          *testch.Server
	dir                 string // of certificates
	access              string // the access file
	grpc, http, metrics string
	collector           *testbin.Program
}

func startFort(t *testing.T) *fort {
	t.Helper()
	return startFortWith(t, "../../deploy/collector-tls.yaml")
}

// startFortWith is startFort with another configuration, which has the same variables.
func startFortWith(t *testing.T, config string) *fort {
	t.Helper()
	f := &fort{t: t, clickhouse: testch.Start(t), dir: t.TempDir(), grpc: testbin.FreeAddress(t), http: testbin.FreeAddress(t)}
	f.access = filepath.Join(f.dir, "access.yaml")
	f.certify("ca")
	f.certify("server", "localhost", "127.0.0.1")
	f.allow("")
	metrics := testbin.FreeAddress(t)
	_, port, _ := net.SplitHostPort(metrics)
	f.metrics = "http://" + metrics + "/metrics"
	f.collector = testbin.Start(t, "netview-collector", []string{
		"NETVIEW_CLICKHOUSE_DSN=" + f.clickhouse.DSN(engine.Writer), "NETVIEW_CLICKHOUSE_OWNER_DSN=" + f.clickhouse.DSN(engine.Owner),
		"NETVIEW_OTLP_GRPC_ENDPOINT=" + f.grpc, "NETVIEW_OTLP_HTTP_ENDPOINT=" + f.http, "NETVIEW_HEALTH_ENDPOINT=" + testbin.FreeAddress(t),
		"NETVIEW_COLLECTOR_METRICS_PORT=" + port, "NETVIEW_CERTIFICATES=" + f.dir, "NETVIEW_ACCESS_FILE=" + f.access,
	}, "--config", config)
	return f
}

// certify runs the script of deploy/.
func (f *fort) certify(arguments ...string) {
	f.t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		f.t.Skip("no openssl")
	}
	if out, err := exec.Command("../../deploy/certificates.sh", append([]string{f.dir}, arguments...)...).CombinedOutput(); err != nil {
		f.t.Fatalf("certificates.sh %v: %v\n%s", arguments, err, out)
	}
}

// serial of a certificate.
func (f *fort) serial(name string) string {
	f.t.Helper()
	out, err := exec.Command("openssl", "x509", "-noout", "-serial", "-in", filepath.Join(f.dir, name+".crt")).Output()
	if err != nil {
		f.t.Fatal(err)
	}
	_, serial, _ := strings.Cut(strings.TrimSpace(string(out)), "=")
	return serial
}

// allow writes the access file, as a whole.
func (f *fort) allow(text string) {
	f.t.Helper()
	if err := errors.Join(os.WriteFile(f.access+".new", []byte(text), 0o600), os.Rename(f.access+".new", f.access)); err != nil {
		f.t.Fatal(err)
	}
}

// pair is a certificate of the script's.
func (f *fort) pair(name string) tls.Certificate {
	f.t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(f.dir, name+".crt"), filepath.Join(f.dir, name+".key"))
	if err != nil {
		f.t.Fatal(err)
	}
	return pair
}

// client is one with certificates, or none.
func (f *fort) client(certificates ...tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(testca.Open(f.t, f.dir, "ca").Certificate)
	return &tls.Config{RootCAs: roots, Certificates: certificates, ServerName: "localhost"}
}

// host is a sensor of a procfs that stays the same.
type host struct {
	t       *testing.T
	id      string
	metrics string
	spool   string
	sensor  *testbin.Program
}

// startSensor runs a sensor with a certificate, which need not be its own.
func (f *fort) startSensor(id, certificate, protocol string) *host {
	f.t.Helper()
	return f.startHost(id, protocol, "--otlp.cert-file", filepath.Join(f.dir, certificate+".crt"), "--otlp.key-file", filepath.Join(f.dir, certificate+".key"))
}

// startHost runs a sensor with more arguments.
func (f *fort) startHost(id, protocol string, more ...string) *host {
	f.t.Helper()
	p := testproc.New(f.t)
	for port := range 20 {
		p.Socket("tcp", testproc.Here, 443, testproc.There, 50001+port, testproc.Established, 2+port, true)
	}
	p.Write()
	address := testbin.FreeAddress(f.t)
	h := &host{t: f.t, id: id, metrics: "http://" + address + "/metrics", spool: f.t.TempDir()}
	endpoint := map[string]string{"grpcs": "grpcs://" + f.grpc, "https": "https://" + f.http}[protocol]
	h.sensor = testbin.Start(f.t, "netview-sensor", nil, append([]string{"--no-ebpf", "--path.procfs", p.Proc, "--sensor-id", id, "--heartbeat.interval", "1s",
		"--web.listen-address", address, "--spool.directory", h.spool, "--otlp.endpoint", endpoint, "--otlp.ca-file", filepath.Join(f.dir, "ca.crt")}, more...)...)
	return h
}

// metric adds up the samples of a metric that have this among their labels' values.
func metric(t *testing.T, url, name, value string) (sum float64) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		return 0 // it starts, or is busy: who asks asks again
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[name].GetMetric() {
		has := value == ""
		for _, label := range m.GetLabel() {
			has = has || label.GetValue() == value
		}
		if has {
			sum += number(m)
		}
	}
	return sum
}

func number(m *dto.Metric) float64 {
	if m.Counter != nil {
		return m.GetCounter().GetValue()
	}
	return m.GetGauge().GetValue()
}

// acknowledged are the heartbeats of a sensor that the collector took.
func (h *host) acknowledged() float64 {
	return metric(h.t, h.metrics, "netview_records_acknowledged_total", "heartbeat")
}

// beats waits for more heartbeats to be acknowledged.
func (h *host) beats(more float64) {
	h.t.Helper()
	before := h.acknowledged()
	eventually(h.t, func() string {
		if n := h.acknowledged(); n < before+more {
			return fmt.Sprintf("%s has %.0f heartbeats acknowledged, want %.0f", h.id, n, before+more)
		}
		return ""
	})
}

// denied is what the collector counts.
func (f *fort) denied(cause string) float64 {
	return metric(f.t, f.metrics, "netview_receiver_denied", cause)
}

func (f *fort) number(query string) (n uint64) {
	f.t.Helper()
	conn, err := clickhouse.Open(f.clickhouse.DSN(engine.Reader))
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.QueryRow(context.Background(), query).Scan(&n); err != nil {
		f.t.Fatalf("%v\n%s", err, query)
	}
	return n
}

// whole waits until each number that a sensor gave is stored; none may be named lost.
func (f *fort) whole(id string) {
	f.t.Helper()
	const reconciled = "FROM netview.reconciliation(sensor_id = '%s', since = now64(3, 'UTC') - INTERVAL 1 HOUR)"
	eventually(f.t, func() string {
		if n := f.number(fmt.Sprintf("SELECT sum(unexplained) "+reconciled, id)); n != 0 {
			return fmt.Sprintf("%d records of %s are missing", n, id)
		}
		return ""
	})
	if n := f.number(fmt.Sprintf("SELECT sum(gone) "+reconciled, id)); n != 0 {
		f.t.Errorf("%d records of %s are lost", n, id)
	}
}

// memory is what the collector takes now and took at most (MiB), and its CPU time (s).
func (f *fort) memory() (now, peak int, cpu float64) {
	f.t.Helper()
	directory := fmt.Sprintf("/proc/%d/", f.collector.Command.Process.Pid)
	text, err := os.ReadFile(directory + "status")
	if err != nil {
		f.t.Fatal(err)
	}
	field := func(name string) int {
		_, rest, _ := strings.Cut(string(text), name)
		kib, _ := strconv.Atoi(strings.Fields(rest)[0])
		return kib >> 10
	}
	stat, err := os.ReadFile(directory + "stat")
	if err != nil {
		f.t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))
	user, _ := strconv.ParseFloat(fields[12], 64)
	system, _ := strconv.ParseFloat(fields[13], 64)
	const ticks = 100 // a second, on every architecture that Go knows
	return field("VmRSS:"), field("VmHWM:"), (user + system) / ticks
}
