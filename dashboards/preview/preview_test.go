package main

import (
	"context"
	"fmt"
	"image/png"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func TestMain(m *testing.M) { testch.Main(m) }

var to = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func asked(t *testing.T) *sources {
	t.Helper()
	u, err := url.Parse(testch.Start(t).HTTPDSN(engine.Reader))
	if err != nil {
		t.Fatal(err)
	}
	u.Path, u.RawQuery = "", ""
	return &sources{clickhouse: u.String()}
}

// TestFrames: columns become fields as the plugin makes them.
func TestFrames(t *testing.T) {
	s := asked(t)
	const moment = "toDateTime64('2030-01-01 11:00:00.250', 3, 'UTC')"
	frames, err := s.askClickHouse(context.Background(), &target{Format: 1.}, `SELECT `+moment+` AS utc, toTimeZone(toDateTime(`+moment+`), 'Asia/Tokyo') AS tokyo, toDate('2030-01-01') AS day,
		toUInt64(9007199254740993) AS big, toNullable(0.5) AS half, CAST(NULL AS Nullable(UInt8)) AS nothing, true AS yes, toLowCardinality(toNullable('x')) AS text, ['a', 'b'] AS list`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []field{
		{Name: "utc", Type: typeTime, Values: []any{1893495600250.}}, {Name: "tokyo", Type: typeTime, Values: []any{1893495600000.}}, {Name: "day", Type: typeTime, Values: []any{1893456000000.}},
		{Name: "big", Type: typeNumber, Values: []any{9007199254740992.}}, {Name: "half", Type: typeNumber, Values: []any{0.5}}, {Name: "nothing", Type: typeNumber, Values: []any{nil}},
		{Name: "yes", Type: typeBoolean, Values: []any{true}}, {Name: "text", Type: typeString, Values: []any{"x"}}, {Name: "list", Type: typeString, Values: []any{`["a","b"]`}},
	} {
		want.Config = map[string]any{}
		if got := *frames[0].Fields[i]; !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}

	frames, err = s.askClickHouse(context.Background(), &target{Format: 0.}, `SELECT toDateTime(intDiv(number, 2), 'UTC') AS time, ['x', 'y'][1 + number % 2] AS which, number AS n FROM numbers(3) ORDER BY time`)
	if err != nil {
		t.Fatal(err)
	}
	var series []string
	for _, f := range frames[0].Fields {
		series = append(series, fmt.Sprint(f.Name, f.Labels, f.Values))
	}
	if got, want := strings.Join(series, " "), "timemap[] [0 1000] nmap[which:x] [0 2] nmap[which:y] [1 <nil>]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}

	if _, err := s.askClickHouse(context.Background(), &target{}, "SELECT nothing"); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a wrong query: %v", err)
	}
}

// TestPrometheus asks one that has nothing but what stands in the expressions.
func TestPrometheus(t *testing.T) {
	program := filepath.Join(os.Getenv("NETVIEW_PROMETHEUS"), "prometheus")
	if _, err := os.Stat(program); err != nil {
		t.Skip("no Prometheus: NETVIEW_PROMETHEUS names no folder with Debian's (`make prometheus` fetches it)")
	}
	dir, address := t.TempDir(), testbin.FreeAddress(t)
	config := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	d, err := read("testdata/sample.json")
	if err != nil {
		t.Fatal(err)
	}
	view, err := d.view(t.Context(), &sources{}, nil, to.Add(-time.Minute), to)
	if err != nil {
		t.Fatal(err)
	}
	view.Interval = 30 * time.Second
	s := &sources{prometheus: "http://" + address}
	ask := func(expr string, instant bool) ([]*frame, error) {
		query := target{Expr: expr, LegendFormat: "of {{ sensor_id }}", Instant: instant}
		query.Datasource.Type = "prometheus"
		return s.ask(t.Context(), &query, view)
	}
	testbin.Eventually(t, time.Minute, func() string {
		if _, err := ask("vector(1)", true); err != nil {
			return err.Error()
		}
		return ""
	})
	const labelled = `label_replace(vector(time() - 1893499140), "sensor_id", "a", "", "")`
	frames, err := ask(labelled, false)
	if err != nil {
		t.Fatal(err)
	}
	times, value := frames[0].Fields[0], frames[0].Fields[1]
	if value.Config["displayNameFromDS"] != "of a" || !reflect.DeepEqual(value.Values, []any{0., 30., 60.}) || !reflect.DeepEqual(times.Values, []any{1893499140000., 1893499170000., 1893499200000.}) {
		t.Errorf("%+v %+v", times, value)
	}
	if frames, err = ask(labelled+" / 0 - Inf", true); err != nil || !reflect.DeepEqual(frames[0].Fields[1].Values, []any{nil}) {
		t.Errorf("%v, %v", frames, err)
	}
	if _, err := ask("nothing(", true); err == nil || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("a wrong expression: %v", err)
	}
}

// TestPicture: a picture of a dashboard whose panels are all drawn, but the one without
// a server.
func TestPicture(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skipf("no Chromium to draw with: %v (apt-get install chromium)", err)
	}
	page := os.Getenv("NETVIEW_PREVIEW")
	if page == "" {
		page = "../../var/preview"
	}
	if _, err := os.Stat(filepath.Join(page, "page.js")); err != nil {
		t.Skipf("the page is not bundled: %v (`make preview-page` does)", err)
	}
	o := options{dashboards: []string{"testdata/sample.json"}, out: t.TempDir(), page: page, chromium: chromium, width: 1000, length: time.Hour, variables: map[string]string{"n": "~^[12]$"}, sources: *asked(t)}
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(o.out, "sample.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	picture, err := png.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	if size := picture.Bounds().Size(); size.X != 1000 || size.Y != header+20*gridRow+8 {
		t.Errorf("the picture has %v pixels", size)
	}
	// Something is drawn in the middle of each panel, or not far from it.
	seen := map[any]bool{}
	for y := header + 3*gridRow; y < header+8*gridRow; y++ {
		for x := 360; x < 980; x++ {
			seen[picture.At(x, y)] = true
		}
	}
	if len(seen) < 5 {
		t.Errorf("the graph has %d colours", len(seen))
	}

	if o.variables = map[string]string{"none": "x"}; o.run(t.Context()) == nil {
		t.Error("a variable that is not there is taken")
	}
	if o.variables = map[string]string{"n": "~^x"}; o.run(t.Context()) == nil {
		t.Error("a value that is not there is taken")
	}
}

// TestPassword: it comes from the file where the URL names a user without one.
func TestPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("a/b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{"http://u@h:1": "http://u:a%2Fb@h:1", "http://u:p@h:1": "http://u:p@h:1", "http://h:1": "http://h:1"} {
		o := options{passwordFile: file, sources: sources{clickhouse: given}}
		if err := o.authenticate(); err != nil || o.sources.clickhouse != want {
			t.Errorf("%s becomes %s, want %s (%v)", given, o.sources.clickhouse, want, err)
		}
	}
	o := options{passwordFile: "/nowhere", sources: sources{clickhouse: "http://u@h:1"}}
	if err := o.authenticate(); err == nil || !strings.Contains(err.Error(), "--clickhouse-password-file") {
		t.Errorf("a file that is not there gives %v", err)
	}
}
