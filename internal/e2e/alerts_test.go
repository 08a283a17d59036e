package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netview-project/netview/alerts"
	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// prometheus is one that runs with netview's rules.
type prometheus struct {
	t   *testing.T
	url string
}

// faster is how many times faster its rules are than the committed ones.
const faster = 40

// startPrometheus scrapes sensor and collector, each second.
func startPrometheus(t *testing.T, r *road) *prometheus {
	t.Helper()
	program := filepath.Join(os.Getenv("NETVIEW_PROMETHEUS"), "prometheus")
	if _, err := os.Stat(program); err != nil || os.Getenv("NETVIEW_PROMETHEUS") == "" {
		t.Skip("no Prometheus: NETVIEW_PROMETHEUS names no folder with Debian's (`make prometheus` fetches it)")
	}
	dir, address := t.TempDir(), testbin.FreeAddress(t)
	settings := alerts.Defaults().Faster(faster)
	files, err := alerts.Files(&settings)
	if err != nil {
		t.Fatal(err)
	}
	target := func(address string) string {
		parsed, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return parsed.Host
	}
	files["prometheus.yaml"] = fmt.Appendf(nil, `global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules/*.yaml]
scrape_configs:
  - {job_name: %s, static_configs: [{targets: [%q]}]}
  - {job_name: %s, static_configs: [{targets: [%q]}]}
`, settings.SensorJob, target(r.metricsURL), settings.CollectorJob, r.collectorMetrics)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	testbin.StartFile(t, program, nil, "--config.file="+filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	return &prometheus{t, "http://" + address}
}

// ask reads the data of an answer of the API.
func (p *prometheus) ask(path string, data any) error {
	code, text := get(p.url + path)
	answer := struct{ Data any }{data}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("%s: %d %.200s: %w", path, code, text, err)
	}
	return nil
}

// fired is an alert as the API tells it.
type fired struct {
	State               string
	Labels, Annotations map[string]string
}

// firing are the alerts that fire, by name.
func (p *prometheus) firing() (map[string]fired, error) {
	var data struct{ Alerts []fired }
	if err := p.ask("/api/v1/alerts", &data); err != nil {
		return nil, err
	}
	firing := map[string]fired{}
	for _, a := range data.Alerts {
		if a.State == "firing" {
			firing[a.Labels["alertname"]] = a
		}
	}
	return firing, nil
}

// wait until each of these alerts fires, or none does.
func (p *prometheus) wait(fires bool, names ...string) map[string]fired {
	p.t.Helper()
	var firing map[string]fired
	testbin.Eventually(p.t, 3*patience, func() string {
		var err error
		if firing, err = p.firing(); err != nil {
			return err.Error()
		}
		for _, name := range names {
			if _, does := firing[name]; does != fires {
				return fmt.Sprintf("%s fires: %t, want %t; what fires: %v", name, does, fires, firing)
			}
		}
		return ""
	})
	return firing
}

// value waits for the result of a query with one sample.
func (p *prometheus) value(query string) {
	p.t.Helper()
	testbin.Eventually(p.t, patience, func() string {
		var data struct{ Result []any }
		if err := p.ask("/api/v1/query?query="+url.QueryEscape(query), &data); err != nil || len(data.Result) == 0 {
			return fmt.Sprintf("%s has no value (%v)", query, err)
		}
		return ""
	})
}

// refused connects to a closed port of this host until it is told to stop.
func refused(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var connecting sync.WaitGroup
	connecting.Go(func() {
		for ctx.Err() == nil {
			if c, err := net.Dial("tcp", "127.0.0.1:9"); err == nil {
				c.Close()
			}
			time.Sleep(time.Millisecond)
		}
	})
	return func() {
		cancel()
		connecting.Wait()
	}
}

// TestAlertsFireAndResolve: a real Prometheus with the rules, made faster for this
// test alone, while connections are refused, the collector is stopped, and then the
// sensor.
func TestAlertsFireAndResolve(t *testing.T) {
	testns.SkipUnlessRoot(t)
	r := startRoad(t, testch.Start(t), "--spool.events-size", "1MB", "--spool.snapshots-size", "1MB")
	p := startPrometheus(t, r)
	r.heartbeats(2)
	// Those of the start may have been before the sensor had its programs.
	if c, err := net.Dial("tcp", r.collectorMetrics); err != nil {
		t.Fatal(err)
	} else {
		c.Close()
	}
	for _, record := range []string{"sensor_id:netview_heartbeat:age_seconds", "sensor_id:netview_connects:increase", "sensor_id:netview_connections:sum",
		"instance:netview_receiver_requests:rate", "instance:netview_receiver_commit_duration_seconds:p95"} {
		p.value(record)
	}
	healthy := []string{"NetviewSensorDown", "NetviewHeartbeatStale", "NetviewHeartbeatOffline", "NetviewCollectorDown", "NetviewConnectsRefused", "NetviewSpoolFilling", "NetviewIdentityShared", "NetviewClockSkew"}
	p.wait(false, healthy...)

	stop := refused(t)
	firing := p.wait(true, "NetviewConnectsRefused")
	a := firing["NetviewConnectsRefused"]
	if a.Labels["sensor_id"] != "road" || a.Labels["severity"] != alerts.Warning || !strings.HasSuffix(a.Annotations["dashboard_url"], "/d/netview-flows?var-sensor=road") ||
		!regexp.MustCompile(`^[0-9.]+% of its attempts`).MatchString(a.Annotations["description"]) {
		t.Errorf("%+v", a)
	}

	r.collector.Stop()
	firing = p.wait(true, "NetviewCollectorDown", "NetviewHeartbeatOffline", "NetviewSpoolFilling")
	if a := firing["NetviewSpoolFilling"]; a.Labels["sensor_id"] != "road" || !strings.Contains(a.Annotations["description"], " are out of room in ") {
		t.Errorf("%+v", a)
	}
	stop()
	r.collector = r.startCollector()
	p.wait(false, healthy...)

	r.sensor.Stop()
	firing = p.wait(true, "NetviewSensorDown", "NetviewHeartbeatOffline")
	if a := firing["NetviewSensorDown"]; a.Labels["sensor_id"] != "road" {
		t.Errorf("a sensor that cannot be scraped any more has lost its name: %+v", a)
	}
	r.sensor = r.startSensor()
	p.wait(false, healthy...)

	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := p.ask("/api/v1/rules", &rules); err != nil || len(rules.Groups) < 5 {
		t.Errorf("%v, %d groups of rules", err, len(rules.Groups))
	}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if rule.Health != "ok" {
				t.Errorf("%s is %s: %s", rule.Name, rule.Health, rule.LastError)
			}
		}
	}
	r.sensor.Stop()
	r.collector.Stop()
}

// TestRunbookQueries: each can be asked as it stands there.
func TestRunbookQueries(t *testing.T) {
	text, err := os.ReadFile("../../alerts/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	r := startRoad(t, testch.Start(t))
	r.heartbeats(1)
	conn, err := clickhouse.Open(r.clickhouse.DSN(engine.Reader))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	queries := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(text, -1)
	if len(queries) == 0 {
		t.Fatal("the runbook has no queries")
	}
	asked := map[string]bool{}
	for _, found := range queries {
		query := string(found[1])
		if asked[query] {
			continue
		}
		asked[query] = true
		rows, err := conn.Query(t.Context(), query)
		if err == nil {
			for rows.Next() {
			}
			err = rows.Err()
			rows.Close()
		}
		if err != nil {
			t.Errorf("%v\n%s", err, query)
		}
	}
}
