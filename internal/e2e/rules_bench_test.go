package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/netview-project/netview/internal/testbin"
)

// BenchmarkRules is what a real Prometheus takes to evaluate the committed rules
// over the series of 1,000 sensors: the exposition of a real one, told 1,000 times
// with another sensor_id. It runs until the windows of rates are full.
func BenchmarkRules(b *testing.B) {
	program := filepath.Join(os.Getenv("NETVIEW_PROMETHEUS"), "prometheus")
	if os.Getenv("NETVIEW_PROMETHEUS") == "" {
		b.Skip("NETVIEW_PROMETHEUS names no folder with a Prometheus (`make bench-alerts` does)")
	}
	const sensors, runs = 1000, 7 * time.Minute
	for b.Loop() {
		address := testbin.FreeAddress(b)
		sensor := testbin.Start(b, "netview-sensor", nil, "--sensor-id", "measured", "--web.listen-address", address, "--spool.directory", b.TempDir(), "--otlp.endpoint", "grpc://"+testbin.FreeAddress(b))
		var exposition []byte
		testbin.Eventually(b, patience, func() string {
			if code, _ := get("http://" + address + "/-/ready"); code != http.StatusOK {
				return "the sensor is not ready"
			}
			_, exposition = get("http://" + address + "/metrics")
			return ""
		})
		sensor.Stop()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			_, _ = w.Write(bytes.ReplaceAll(exposition, []byte(`sensor_id="measured"`), fmt.Appendf(nil, "sensor_id=%q", r.URL.Query().Get("sensor"))))
		}))
		rules, err := filepath.Abs("../../alerts/rules")
		if err != nil {
			b.Fatal(err)
		}
		var config strings.Builder
		fmt.Fprintf(&config, "global: {scrape_interval: 15s, evaluation_interval: 30s}\nrule_files: [%s/*.yaml]\nscrape_configs:\n  - job_name: netview\n    static_configs:\n", rules)
		for i := range sensors {
			fmt.Fprintf(&config, "      - {targets: [%q], labels: {__param_sensor: sensor-%d, instance: sensor-%d}}\n", strings.TrimPrefix(server.URL, "http://"), i, i)
		}
		dir := b.TempDir()
		file := filepath.Join(dir, "prometheus.yaml")
		if err := os.WriteFile(file, []byte(config.String()), 0o644); err != nil {
			b.Fatal(err)
		}
		web := testbin.FreeAddress(b)
		prometheus := testbin.StartFile(b, program, nil, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+web)
		time.Sleep(runs)
		families := scraped(b, "http://"+web+"/metrics")
		sum := 0.
		for _, m := range families["prometheus_rule_group_last_duration_seconds"].GetMetric() {
			_, group, _ := strings.Cut(m.GetLabel()[0].GetValue(), ";")
			sum += m.GetGauge().GetValue()
			b.ReportMetric(m.GetGauge().GetValue()*1000, group+"-ms")
		}
		b.ReportMetric(sum*1000, "all-ms")
		b.ReportMetric(families["prometheus_tsdb_head_series"].GetMetric()[0].GetGauge().GetValue(), "series")
		missed := 0.
		for _, m := range families["prometheus_rule_group_iterations_missed_total"].GetMetric() {
			missed += m.GetCounter().GetValue()
		}
		b.ReportMetric(missed, "missed")
		b.ReportMetric(families["process_cpu_seconds_total"].GetMetric()[0].GetCounter().GetValue(), "CPU-s")
		b.ReportMetric(families["process_resident_memory_bytes"].GetMetric()[0].GetGauge().GetValue()/1e6, "RSS-MB")
		prometheus.Stop()
		server.Close()
	}
	b.ReportMetric(0, "ns/op")
}

// scraped are the families of an exposition.
func scraped(b *testing.B, url string) map[string]*dto.MetricFamily {
	b.Helper()
	_, text := get(url)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	return families
}
