// Package e2e tests the whole road with the built programs: real sockets in
// namespaces, the sensor, the collector, and a real ClickHouse.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func TestMain(m *testing.M) { testbin.Main(m) }

// patience bounds every wait.
const patience = 60 * time.Second

// eventually waits for f to return nothing; what it returned last is the failure.
func eventually(t *testing.T, f func() string) {
	t.Helper()
	testbin.Eventually(t, patience, f)
}

func get(url string) (int, []byte) {
	answer, err := http.Get(url)
	if err != nil {
		return 0, nil
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, text
}

// road is the chain under test.
type road struct {
	t                 *testing.T
	clickhouse        *testch.Server
	collector, sensor *testbin.Program
	metricsURL        string
	healthURL         string
	collectorMetrics  string // its address
	startCollector    func() *testbin.Program
	startSensor       func() *testbin.Program
}

// startRoad starts collector and sensor, with more flags, in front of a ClickHouse
// that may be down.
func startRoad(t *testing.T, ch *testch.Server, sensorFlags ...string) *road {
	grpc, http, health, metrics := testbin.FreeAddress(t), testbin.FreeAddress(t), testbin.FreeAddress(t), testbin.FreeAddress(t)
	r := &road{t: t, clickhouse: ch, metricsURL: "http://" + metrics + "/metrics", healthURL: "http://" + health + "/", collectorMetrics: testbin.FreeAddress(t)}
	_, metricsPort, _ := net.SplitHostPort(r.collectorMetrics)
	r.startCollector = func() *testbin.Program {
		return testbin.Start(t, "netview-collector", []string{
			"NETVIEW_CLICKHOUSE_DSN=" + ch.DSN(engine.Writer), "NETVIEW_CLICKHOUSE_OWNER_DSN=" + ch.DSN(engine.Owner),
			"NETVIEW_OTLP_GRPC_ENDPOINT=" + grpc, "NETVIEW_OTLP_HTTP_ENDPOINT=" + http,
			"NETVIEW_HEALTH_ENDPOINT=" + health, "NETVIEW_COLLECTOR_METRICS_PORT=" + metricsPort,
		}, "--config", "../../deploy/collector.yaml")
	}
	spool := t.TempDir()
	r.startSensor = func() *testbin.Program {
		return testbin.Start(t, "netview-sensor", nil, append([]string{"--otlp.endpoint", "grpc://" + grpc, "--sensor-id", "road",
			"--heartbeat.interval", "1s", "--web.listen-address", metrics, "--spool.directory", spool}, sensorFlags...)...)
	}
	r.collector, r.sensor = r.startCollector(), r.startSensor()
	return r
}

// gauge reads a metric of the sensor that has no labels of its own.
func (r *road) gauge(name string) (value float64, ok bool) {
	_, text := get(r.metricsURL)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil || families[name].GetType() != dto.MetricType_GAUGE {
		return 0, false
	}
	return families[name].GetMetric()[0].GetGauge().GetValue(), true
}

// row reads one row.
func (r *road) row(query string, into ...any) error {
	conn, err := clickhouse.Open(r.clickhouse.DSN(engine.Reader))
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.QueryRow(context.Background(), query).Scan(into...)
}

func (r *road) number(query string) (n uint64) {
	r.t.Helper()
	if err := r.row(query, &n); err != nil {
		r.t.Fatalf("%v\n%s", err, query)
	}
	return n
}

// explained starts the sensor anew and waits until every record of the sessions before is
// stored or told to be gone. Of one that goes on some are on their way at any moment, where
// the host is busy; and what tells of a superseded snapshot waits behind the events before it.
func (r *road) explained() {
	r.t.Helper()
	r.sensor.Stop()
	const reconciliation = "netview.reconciliation(sensor_id = '', since = now64(3, 'UTC') - INTERVAL 1 HOUR)"
	var ended string
	if err := r.row("SELECT toString(groupArray(toString(session))) FROM "+reconciliation, &ended); err != nil || ended == "[]" {
		r.t.Fatalf("the sessions that ended are %s: %v", ended, err)
	}
	r.sensor = r.startSensor()
	testbin.Eventually(r.t, 3*patience, func() string {
		if n := r.number("SELECT sum(unexplained) FROM " + reconciliation + " WHERE has(" + ended + ", toString(session))"); n != 0 {
			return fmt.Sprintf("%d records are unexplained", n)
		}
		return ""
	})
}

// inView counts the rows of the view `connections` now, on whatever page they are.
func (r *road) inView(where string) (n uint64) {
	r.t.Helper()
	const call = "(sensor_id = 'road', at = toDateTime64('%s', 3, 'UTC'), page = %d, page_size = 500)"
	at := time.Now().UTC().Format("2006-01-02 15:04:05.000")
	pages := r.number("SELECT page_count FROM netview.connections_pager" + fmt.Sprintf(call, at, 1))
	for page := range pages {
		n += r.number("SELECT count() FROM netview.connections" + fmt.Sprintf(call, at, page+1) + " WHERE " + where)
	}
	return n
}

// heartbeats waits until ClickHouse has this many.
func (r *road) heartbeats(want uint64) {
	r.t.Helper()
	eventually(r.t, func() string {
		var n uint64
		if err := r.row("SELECT max(heartbeat) FROM netview.heartbeats", &n); err != nil || n < want {
			return fmt.Sprintf("ClickHouse has heartbeat %d (%v), want %d", n, err, want)
		}
		return ""
	})
}

// waiting waits until snapshots pile up in the sensor.
func (r *road) waiting() {
	r.t.Helper()
	eventually(r.t, func() string {
		if n, _ := r.gauge("netview_queue_snapshots"); n < 1 {
			return "no snapshot waits in the sensor: it does not keep what nobody takes"
		}
		return ""
	})
}

// TestOutages: ClickHouse is down at the start, and killed between heartbeats.
// The collector says so and accepts nothing, the sensor retries, both recover by
// themselves, and every snapshot is there, complete.
func TestOutages(t *testing.T) {
	ch := testch.Start(t)
	ch.Kill()
	r := startRoad(t, ch)
	eventually(t, func() string {
		if code, text := get(r.healthURL); code == http.StatusOK || !strings.Contains(string(text), "StatusRecoverableError") {
			return fmt.Sprintf("the collector's health is %d %s", code, text)
		}
		return ""
	})
	r.waiting()
	if acknowledged, ok := r.gauge("netview_heartbeat_acknowledged_timestamp_seconds"); ok {
		t.Errorf("without ClickHouse a heartbeat of %f is acknowledged", acknowledged)
	}
	if said := r.collector.Said(); !strings.Contains(said, "ClickHouse is not ready") {
		t.Errorf("the collector does not say that ClickHouse is away:\n%s", said)
	}
	ch.Restart()
	r.heartbeats(4)
	if code, text := get(r.healthURL); code != http.StatusOK {
		t.Errorf("with ClickHouse back the collector's health is %d %s", code, text)
	}

	ch.Kill()
	r.waiting()
	acknowledged, _ := r.gauge("netview_heartbeat_acknowledged_timestamp_seconds")
	ch.Restart()
	if n := r.number(fmt.Sprintf("SELECT count() FROM netview.heartbeats WHERE toUnixTimestamp64Micro(timestamp) = %.0f", acknowledged*1e6)); n == 0 {
		t.Errorf("the heartbeat of %f was acknowledged and is not in ClickHouse after kill -9", acknowledged)
	}
	newest := r.number("SELECT max(heartbeat) FROM netview.heartbeats")
	r.heartbeats(newest + 3)
	r.explained()

	r.sensor.Stop()
	r.collector.Stop()
	const broken = `SELECT count() FROM netview.heartbeats AS h FINAL
		LEFT JOIN (SELECT session, heartbeat, uniqExact(sequence) AS n FROM netview.snapshot_connections GROUP BY session, heartbeat) AS c USING (session, heartbeat)
		LEFT JOIN (SELECT session, heartbeat, uniqExactIf(sequence, transport = 'tcp') AS tcp, uniqExactIf(sequence, transport = 'udp') AS udp FROM netview.snapshot_listeners GROUP BY session, heartbeat) AS l USING (session, heartbeat)
		WHERE h.connections != c.n OR h.tcp_listeners != l.tcp OR h.udp_listeners != l.udp`
	if n := r.number(broken); n != 0 {
		t.Errorf("%d heartbeats have not the rows that they count", n)
	}
}

// TestKills: collector and sensor are killed while records are on their way. Each
// number of both sessions is stored, but for snapshots that a newer one superseded, and
// the unclean end is told.
func TestKills(t *testing.T) {
	r := startRoad(t, testch.Start(t))
	r.heartbeats(2)
	kill(t, r.collector)
	r.waiting()
	kill(t, r.sensor)
	r.collector, r.sensor = r.startCollector(), r.startSensor()
	const gaps = "SELECT count() FROM netview.gaps WHERE cause = 'unclean_end' AND gap_session != session AND gap_last = 0"
	eventually(t, func() string {
		var ended, sessions uint64
		if err := r.row(gaps, &ended); err != nil || ended != 1 {
			return fmt.Sprintf("%d gap records tell of the unclean end (%v), want 1", ended, err)
		}
		if err := r.row("SELECT uniqExact(session) FROM netview.heartbeats", &sessions); err != nil || sessions != 2 {
			return fmt.Sprintf("heartbeats of %d sessions (%v), want 2", sessions, err)
		}
		return ""
	})
	r.explained()
	if n := r.number("SELECT count() FROM netview.gaps WHERE cause NOT IN ('unclean_end', 'snapshot_superseded')"); n != 0 {
		t.Errorf("%d gap records tell of other losses", n)
	}
	r.sensor.Stop()
	r.collector.Stop()
}

func kill(t *testing.T, p *testbin.Program) {
	t.Helper()
	if err := p.Command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Wait()
}

// TestNamespaces: what lives in a namespace that only a mount holds, and in one
// that only a thread lives in, is in the views with its process, and its age.
func TestNamespaces(t *testing.T) {
	mounted := testns.New(t)
	unnamed, _ := testns.NewUnnamed(t)
	r := startRoad(t, testch.Start(t))
	r.heartbeats(3)

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, ns := range map[string]*testns.NS{"mounted": mounted, "unnamed": unnamed} {
		var listener net.Listener
		var client, accepted net.Conn
		var datagrams net.PacketConn
		ns.Do(t, func() (err error) {
			if listener, err = net.Listen("tcp6", "[::1]:8080"); err != nil {
				return err
			}
			if client, err = net.Dial("tcp6", "[::1]:8080"); err != nil {
				return err
			}
			if accepted, err = listener.Accept(); err != nil {
				return err
			}
			datagrams, err = net.ListenPacket("udp4", "127.0.0.1:2152")
			return err
		})
		for _, c := range []io.Closer{listener, client, accepted, datagrams} {
			defer c.Close()
		}
		who := fmt.Sprintf("netns = %d AND pid = %d AND binary = '%s' AND user = 'root'", ns.Inode, os.Getpid(), self)
		where := who + " AND state = 'established' AND local_address = '::1' AND duration_secs BETWEEN 1 AND 60 AND duration_source IN ('first_seen', 'connect', 'accept')"
		eventually(t, func() string {
			inbound := r.inView(where + " AND local_port = 8080 AND direction = 'inbound'")
			outbound := r.inView(where + " AND remote_port = 8080 AND direction = 'outbound'")
			if inbound != 1 || outbound != 1 {
				return fmt.Sprintf("%s namespace: the view has %d inbound and %d outbound connections, want 1 of each", name, inbound, outbound)
			}
			return ""
		})
		const listeners = "SELECT count() FROM netview.snapshot_listeners WHERE "
		if n := r.number(listeners + who + " AND transport = 'tcp' AND local_port = 8080 AND local_address = toIPv6('::1')"); n == 0 {
			t.Errorf("%s namespace: the TCP listener is not in ClickHouse", name)
		}
		if n := r.number(listeners + who + " AND transport = 'udp' AND local_port = 2152 AND NOT ephemeral"); n == 0 {
			t.Errorf("%s namespace: the UDP listener is not in ClickHouse", name)
		}
	}
	r.sensor.Stop()
	r.collector.Stop()
}
