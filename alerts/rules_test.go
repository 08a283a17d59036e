package alerts

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/netview-project/netview/exporter"
	"github.com/netview-project/netview/sensor"
)

// others are metrics that are neither netview's nor of its receiver: Prometheus's
// own, and one of client_golang.
var others = []string{"up", "process_start_time_seconds"}

// TestMetricsExist: every selector is of a metric that a sensor or a receiver shows,
// or of a record of the same group: others may not be evaluated yet.
func TestMetricsExist(t *testing.T) {
	exist := map[string]bool{}
	for _, name := range others {
		exist[name] = true
	}
	for _, d := range exporter.Describe() {
		exist[d.Name] = true
		if d.Type == "histogram" {
			exist[d.Name+"_bucket"] = true
		}
	}
	received := receiverMetrics(t)
	settings := Defaults()
	for _, g := range Groups(&settings) {
		known := maps.Clone(exist)
		for _, r := range g.Rules { // a record may use itself
			if record, is := r.(Record); is {
				known[record.Name] = true
			}
		}
		for _, r := range g.Rules {
			w := r.write(&settings)
			parsed, err := parser.NewParser(parser.Options{}).ParseExpr(w.Expr)
			if err != nil {
				t.Errorf("%s%s: %v", w.Alert, w.Record, err)
				continue
			}
			parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
				selector, is := node.(*parser.VectorSelector)
				if !is || known[selector.Name] || slices.Contains(received, selector.Name) {
					return nil
				}
				for _, m := range selector.LabelMatchers {
					if m.Name == model.MetricNameLabel && m.Type == labels.MatchRegexp && slices.ContainsFunc(received, m.Matches) {
						return nil
					}
				}
				t.Errorf("%s%s: the metric of %s does not exist", w.Alert, w.Record, selector)
				return nil
			})
		}
	}
}

// receiverMetrics are those of the receiver as the Collector shows them.
func receiverMetrics(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile("../otelreceiver/metadata.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var metadata struct {
		Telemetry struct {
			Metrics map[string]struct{ Histogram any }
		}
	}
	if err := yaml.Unmarshal(text, &metadata); err != nil {
		t.Fatal(err)
	}
	for name, m := range metadata.Telemetry.Metrics {
		if m.Histogram != nil {
			name += "_bucket"
		}
		names = append(names, name)
	}
	return names
}

// unalarming are causes of netview_losses_total without an alert, with the reason.
var unalarming = map[string]string{
	"namespace_gone":       "it ended: nothing that lives is missing",
	"process_gone":         "it ended: nothing that lives is missing",
	"namespace_denied":     "it lasts for as long as the rights do: NetviewFeatureOff tells when they went",
	"process_denied":       "it lasts for as long as the rights do: NetviewFeatureOff tells when they went",
	"dns_message_cut":      "the rest of a long answer, by design",
	"dns_query_unfinished": "the end of the sensor",
	"dns_stream_malformed": "connections that are older than the sensor have it once",
	"snapshot_superseded":  "the newest snapshot is kept while the collector is away, which NetviewHeartbeatStale tells",
	"unclean_end":          "it counts nothing; the gap record tells, and the restart shows",
}

// TestEveryLossIsJudged: a cause of loss has an alert, or a reason to have none.
func TestEveryLossIsJudged(t *testing.T) {
	alarming := regexp.MustCompile("^(?:" + strings.Join([]string{eventLosses, dnsLosses, readLosses, recordLosses}, "|") + ")$")
	for _, cause := range sensor.LossCauses() {
		if alarming.MatchString(cause.Name) == (unalarming[cause.Name] != "") {
			t.Errorf("the cause %s must have either an alert or a reason in unalarming", cause.Name)
		}
	}
}

// TestAnnotations: each alert leads to its entry of the runbook, which has every
// part, and to a dashboard that exists; and says what it is worth.
func TestAnnotations(t *testing.T) {
	text, err := os.ReadFile("runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for _, part := range strings.Split(string(text), "\n## ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		entries[name] = body
	}
	dashboards := []string{Summary, Connections, Listening, Flows, DNS, Health}
	settings := Defaults()
	for _, g := range Groups(&settings) {
		for _, r := range g.Rules {
			a, is := r.(Alert)
			if !is {
				continue
			}
			if !slices.Contains(dashboards, a.Dashboard) || !slices.Contains([]string{Critical, Warning, Info}, a.Severity) || a.Summary == "" || a.Description == "" {
				t.Errorf("%s: %+v", a.Name, a)
			}
			for _, part := range []string{"**Means.** ", "**Look at first.** [The dashboard](/d/" + a.Dashboard + "), and:\n\n```sql\n", "**Common causes.** ", "**To quiet it.** "} {
				if !strings.Contains(entries[a.Name], part) {
					t.Errorf("the entry of %s in the runbook has no %q", a.Name, part)
				}
			}
			delete(entries, a.Name)
		}
	}
	for name := range entries {
		t.Errorf("the runbook has an entry %s, which is no alert", name)
	}
}

// TestExamples: the configuration of Prometheus, and of Alertmanager with what
// becomes of each severity.
func TestExamples(t *testing.T) {
	for _, promtool := range promtools(t) {
		run(t, promtool, "check", "config", "prometheus.yaml")
	}
	amtool := filepath.Join(os.Getenv("NETVIEW_PROMETHEUS"), "amtool")
	if _, err := os.Stat(amtool); err != nil {
		t.Skipf("no amtool: %v (`make prometheus` fetches it)", err)
	}
	run(t, amtool, "check-config", "alertmanager.yaml")
	for severity, receiver := range map[string]string{Critical: "pager", Warning: "channel", Info: "digest"} {
		run(t, amtool, "config", "routes", "test", "--config.file=alertmanager.yaml", "--verify.receivers="+receiver, "severity="+severity, "sensor_id=s1")
	}
	text, err := os.ReadFile("alertmanager.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`alertname=~?"([^"]+)"`).FindAllSubmatch(text, -1) {
		for _, name := range strings.Split(string(found[1]), "|") {
			if !slices.ContainsFunc(conditions(), func(c condition) bool { return c.alert == name }) {
				t.Errorf("alertmanager.yaml names %s, which is no alert", name)
			}
		}
	}
}
