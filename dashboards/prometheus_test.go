package dashboards

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/netview-project/netview/alerts"
	"github.com/netview-project/netview/dashboards/standin"
	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/exporter"
	"github.com/netview-project/netview/internal/fleet"
	"github.com/netview-project/netview/internal/testbin"
)

// exporters are the real exporter over what generated sensors see; what they count
// grows with each scrape. They return the targets and the sensors.
func exporters(t *testing.T) (targets, sensors []string) {
	f := fleet.Fleet{Seed: 7, Sensors: 6, Connections: 20, Short: 4, Start: time.Now().Add(-time.Hour), Interval: 15 * time.Second}
	for _, s := range f.MakeSensors() {
		beat := s.Next()
		now := time.Now()
		beat.Snapshot.Heartbeat.Timestamp = now
		beat.Snapshot.Heartbeat.Features["sock_diag"] = event.FeatureOff + "not asked for"
		summary := beat.Snapshot.Summarize()
		var scrapes atomic.Uint64
		observed := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "latency", Buckets: []float64{.001, .01, .1}})
		state := func() event.State {
			n := scrapes.Add(1)
			observed.Observe(.002)
			var latency dto.Metric
			if err := observed.Write(&latency); err != nil {
				t.Error(err)
			}
			return event.State{Snapshot: summary, Limits: &event.Limits{EphemeralPorts: .25, ListenDrops: n, Conntrack: 100, ConntrackLimit: 1000}, Losses: map[string]uint64{"bpf_ring_full": n}, Churn: event.Churn{Appeared: map[string]uint64{"tcp": n}, Vanished: map[string]uint64{"tcp": n}},
				Delivery: &event.Delivery{Acknowledged: now, Delivered: map[event.Kind]uint64{event.KindHeartbeat: n}, Events: event.Lane{Records: 5, Bytes: 1000, Limit: 1 << 20}},
				Kernel: &event.Kernel{Events: map[event.Kind]uint64{event.KindNetworkFlow: n}, BytesSent: 1000 * n, BytesReceived: 2000 * n, Retransmits: n,
					DNS: &event.DNS{Queries: map[event.DNSLabels]uint64{{Protocol: "dns", Transport: "udp", Type: "A", Result: "answered", RCode: "NOERROR"}: n}, Lookups: map[string]uint64{"ok": n}, Latency: latency.Histogram}}}
		}
		server := httptest.NewServer(promhttp.HandlerFor(exporter.NewRegistry(s.Resource, state), promhttp.HandlerOpts{}))
		t.Cleanup(server.Close)
		targets, sensors = append(targets, strings.TrimPrefix(server.URL, "http://")), append(sensors, s.Resource.SensorID)
	}
	slices.Sort(sensors)
	return targets, sensors
}

// startPrometheus scrapes the targets each second, with netview's rules.
func startPrometheus(t *testing.T, targets []string) (address string) {
	program := filepath.Join(os.Getenv("NETVIEW_PROMETHEUS"), "prometheus")
	if _, err := os.Stat(program); err != nil || os.Getenv("NETVIEW_PROMETHEUS") == "" {
		t.Skip("no Prometheus: NETVIEW_PROMETHEUS names no folder with Debian's (`make prometheus` fetches it)")
	}
	dir := t.TempDir()
	settings := alerts.Defaults().Faster(40)
	files, err := alerts.Files(&settings)
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	files["prometheus.yaml"] = fmt.Appendf(nil, "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules/*.yaml]\nscrape_configs: [{job_name: %s, static_configs: [{targets: %s}]}]\n", settings.SensorJob, list)
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	address = testbin.FreeAddress(t)
	testbin.StartFile(t, program, nil, "--config.file="+filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	return "http://" + address
}

// evaluate is the answer of the API to a target.
func evaluate(server string, target *Target, v standin.View, expr string) (lines []graphLine, err error) {
	values := url.Values{"query": {expr}}
	path := "/api/v1/query"
	if target.Instant {
		values.Set("time", fmt.Sprint(v.To.Unix()))
	} else {
		path += "_range"
		values.Set("start", fmt.Sprint(v.From.Unix()))
		values.Set("end", fmt.Sprint(v.To.Unix()))
		values.Set("step", "1")
	}
	response, err := http.PostForm(server+path, values)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     []graphLine
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if want := map[bool]string{true: "vector", false: "matrix"}[target.Instant]; answer.Status != "success" || answer.Data.ResultType != want {
		return nil, fmt.Errorf("%s of %s, %s, want a %s", answer.Status, answer.Data.ResultType, answer.Error, want)
	}
	return answer.Data.Result, nil
}

// graphLine is a series; a sample is a time (s) and a value.
type graphLine struct {
	Metric map[string]string
	Values [][2]any
	Value  [2]any
}

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

// without are the panels that need more than sensors of a minute: a history, more
// time, an alert, or a collector.
var without = []string{"From their own history", "Records", "Answers", "Time of a commit", "Telecom listeners", "Alerts that fire"}

// TestPrometheusQueries asks everything that the dashboards ask of Prometheus, of
// all sensors, one, several and none, where there is data and where there is not.
func TestPrometheusQueries(t *testing.T) {
	targets, sensors := exporters(t)
	server := startPrometheus(t, targets)
	all := All()
	began := time.Now()
	up := instant("", `count(rate(netview_events_total{$SENSOR}[10s]) > 0) >= 6`)
	testbin.Eventually(t, time.Minute, func() string {
		expr, _ := all[0].Opened(began, time.Now()).PromQL(up.Expr)
		if lines, err := evaluate(server, up, standin.View{From: began, To: time.Now()}, expr); err != nil || len(lines) == 0 {
			return fmt.Sprintf("the sensors are not scraped: %v", err)
		}
		return ""
	})
	for _, d := range all {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				if target.Expr == "" {
					continue
				}
				name := d.UID + ": " + p.Title
				data := d.Opened(began, time.Now())
				data.Interval = time.Second // as often as it is scraped
				empty := d.Opened(began.Add(-48*time.Hour), began.Add(-47*time.Hour))
				get := func(what string, v standin.View) (lines []graphLine) {
					expr, err := v.PromQL(target.Expr)
					if err == nil {
						lines, err = evaluate(server, target, v, expr)
					}
					if err != nil {
						t.Errorf("%s, %s: %v in %s", name, what, err, expr)
					}
					for _, l := range lines {
						for _, label := range legendLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
							if l.Metric[label[1]] == "" {
								t.Errorf("%s, %s: a series without %s", name, what, label[1])
							}
						}
						if !slices.IsSortedFunc(l.Values, func(a, b [2]any) int { return int(a[0].(float64) - b[0].(float64)) }) {
							t.Errorf("%s, %s: the times do not ascend", name, what)
						}
					}
					return lines
				}
				fleet := get("all", data)
				if len(fleet) == 0 && !slices.Contains(without, p.Title) {
					t.Errorf("%s: nothing where there is data: %s", name, target.Expr)
				}
				if lines := get("empty", empty); len(lines) > 0 {
					t.Errorf("%s: %d series where there is no data", name, len(lines))
				}
				if !strings.Contains(target.Expr, "$sensor") {
					continue
				}
				for who, picked := range map[string][]string{"one": sensors[:1], "several": sensors[:3]} {
					for _, l := range get(who, pick(data, "sensor", picked...)) {
						if id := l.Metric["sensor_id"]; id != "" && !slices.Contains(picked, id) {
							t.Errorf("%s: %s for %v", name, id, picked)
						}
					}
				}
				for _, value := range append(hostile, ".*", "x|.*", "nobody") {
					if lines := get(fmt.Sprintf("%q", value), pick(data, "sensor", value)); len(lines) > 0 {
						t.Errorf("%s: %d series for %q", name, len(lines), value)
					}
				}
			}
		}
	}
}
