package testunits

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/sensor/rights"
)

func systemctl(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := exec.Command("systemctl", arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %v: %v: %s\n%s", arguments, err, out, journal(t, arguments[len(arguments)-1]))
	}
	return strings.TrimSpace(string(out))
}

// property of a unit.
func property(t *testing.T, unit, name string) string {
	t.Helper()
	return systemctl(t, "show", "--property", name, "--value", unit)
}

// journal is what a unit has logged.
func journal(t *testing.T, unit string) string {
	t.Helper()
	out, err := exec.Command("journalctl", "--no-pager", "--output", "cat", "--unit", unit).CombinedOutput()
	if err != nil {
		t.Fatalf("journalctl: %v: %s", err, out)
	}
	return string(out)
}

func pid(t *testing.T, unit string) int {
	t.Helper()
	n, err := strconv.Atoi(property(t, unit, "MainPID"))
	if err != nil || n == 0 {
		t.Fatalf("%s has no process (%v):\n%s", unit, err, journal(t, unit))
	}
	return n
}

// scrape returns what the sensor shows.
func scrape() (map[string]*dto.MetricFamily, error) {
	answer, err := http.Get(sensorMetrics)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}

// label of a metric.
func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// acknowledged waits until the collector has acknowledged records of these kinds
// since the sensor started.
func acknowledged(t *testing.T, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		acknowledgedSome(t, kind, 1)
	}
}

// acknowledgedSome waits for at least so many records of a kind.
func acknowledgedSome(t *testing.T, kind string, least float64) {
	t.Helper()
	testbin.Eventually(t, patience, func() string {
		families, err := scrape()
		if err == nil {
			err = fmt.Errorf("fewer than %.0f records of the kind %s are acknowledged", least, kind)
		}
		for _, m := range families["netview_records_acknowledged_total"].GetMetric() {
			if label(m, "kind") == kind && m.GetCounter().GetValue() >= least {
				return ""
			}
		}
		return fmt.Sprintf("%v\n%s\n%s", err, journal(t, sensorUnit), journal(t, collectorUnit))
	})
}

// promised are the features that docs/rights.md has, with those that rest on its
// rights alone.
func promised() (features []string) {
	for _, r := range rights.Table() {
		features = append(features, r.Features...)
	}
	features = append(features, "spool", "socket_tables", "processes")
	slices.Sort(features)
	return slices.Compact(features)
}

// enabled fails for each promised feature that the sensor does not show as on, but for
// those that must be off.
func enabled(t *testing.T, off ...string) {
	t.Helper()
	families, err := scrape()
	if err != nil {
		t.Fatal(err)
	}
	on := map[string]bool{}
	for _, m := range families["netview_feature_enabled"].GetMetric() {
		name := label(m, "feature")
		if on[name] = m.GetGauge().GetValue() == 1; on[name] == slices.Contains(off, name) {
			t.Errorf("%s is on: %t: %s", name, on[name], label(m, "reason"))
		}
	}
	for _, feature := range promised() {
		if _, known := on[feature]; !known {
			t.Errorf("the metrics have no feature %s", feature)
		}
	}
}
