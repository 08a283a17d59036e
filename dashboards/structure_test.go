package dashboards

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/netview-project/netview/alerts"
	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/exporter"
)

func TestFilesAreCurrent(t *testing.T) {
	want, err := JSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		if got, err := os.ReadFile("json/" + name); err != nil || !bytes.Equal(got, text) {
			t.Errorf("json/%s does not follow from the code (%v): run `make generate`", name, err)
		}
	}
	if files, _ := filepath.Glob("json/*"); len(files) != len(want) {
		t.Errorf("json/ holds %v, and there are %d dashboards", files, len(want))
	}
}

// TestPanels: what each panel must have to be understood, and where it stands.
func TestPanels(t *testing.T) {
	uids := map[string]bool{}
	for _, d := range All() {
		if uids[d.UID] || d.Title == "" || d.Description == "" {
			t.Errorf("%s: a uid that is there already, or no title or description", d.UID)
		}
		uids[d.UID] = true
		ids, taken := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			name := d.UID + ": " + p.Title
			if p.Title == "" || ids[p.ID] {
				t.Errorf("%s: no title, or the id %d is there already", name, p.ID)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s lies on %s, or outside", name, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if p.Type == "row" {
				continue
			}
			if len(p.Description) < 40 {
				t.Errorf("%s: the description %q does not say what it shows, from where, and what bad looks like", name, p.Description)
			}
			if p.FieldConfig.Defaults.Unit == "" || p.FieldConfig.Defaults.NoValue == "" {
				t.Errorf("%s: no unit, or nothing to say of empty data", name)
			}
			for _, o := range p.FieldConfig.Overrides {
				for _, property := range o.Properties {
					if (property.ID == "unit" || property.ID == "displayName") && property.Value == "" {
						t.Errorf("%s: %s has no %s", name, o.Matcher.Options, property.ID)
					}
				}
			}
			for _, target := range p.Targets {
				if !strings.HasPrefix(target.Datasource.UID, "${") {
					t.Errorf("%s: the data source %v is not a variable", name, target.Datasource)
				}
			}
		}
		// Full lines: a hole is a panel that is missing.
		for at := range taken {
			for x := range 24 {
				if taken[[2]int{x, at[1]}] == "" {
					t.Fatalf("%s: nothing at column %d of row %d", d.UID, x, at[1])
				}
			}
		}
	}
	if len(uids) != 7 {
		t.Errorf("the dashboards are %v", uids)
	}
}

// TestTables: what one wants to see stands in the panel, not to the right of it, and
// headers are whole.
func TestTables(t *testing.T) {
	for _, d := range All() {
		for _, p := range d.Panels {
			if p.Type != "table" {
				continue
			}
			columns := p.FieldConfig.Overrides
			taken, free := 0, 0
			for i, o := range columns {
				width, title := 0, ""
				for _, property := range o.Properties {
					switch property.ID {
					case "custom.width":
						width = property.Value.(int)
					case "displayName":
						title = property.Value.(string)
					}
				}
				if width > 0 && width < headerWidth(title) {
					t.Errorf("%s: %s: %q takes %d pixels and has %d", d.UID, p.Title, title, headerWidth(title), width)
				}
				if i >= len(columns)-p.behind {
					continue
				}
				if width == 0 {
					free++
				}
				taken += width
			}
			switch left := room(p.GridPos.W) - taken; {
			case p.behind == 0 && (free != 1 || left < 150):
				t.Errorf("%s: %s: %d columns have %d pixels together", d.UID, p.Title, free, left)
			case p.behind > 0 && (free != 0 || left != 0):
				t.Errorf("%s: %s: the columns that are not aside leave %d pixels", d.UID, p.Title, left)
			}
		}
	}
}

func (d *Dashboard) variable(name string) *Variable {
	if i := slices.IndexFunc(d.Templating.List, func(v *Variable) bool { return v.Name == name }); i >= 0 {
		return d.Templating.List[i]
	}
	return nil
}

var (
	passedOn = regexp.MustCompile(`^\$\{(\w+):queryparam\}$`)
	setTo    = regexp.MustCompile(`^var-(\w+)=(?:\$\{__data\.fields\.(\w+):percentencode\}|\$\{__value\.raw\}|\$\{__field\.labels\.(\w+):percentencode\}|[\w,]+)$`)
)

// TestLinks: every link leads to a dashboard of these, keeps the time, the data
// sources and the sensors, and sets variables that are there from fields that are.
func TestLinks(t *testing.T) {
	all := map[string]*Dashboard{}
	for _, d := range All() {
		all[d.UID] = d
	}
	linked := map[string]bool{}
	check := func(d *Dashboard, p *Panel, link DataLink) {
		where := d.UID + ": " + p.Title + ": " + link.Title
		address, query, _ := strings.Cut(link.URL, "?")
		uid := strings.Split(address, "/")[2]
		to := all[uid]
		if to == nil || address != "/d/"+uid+"/"+uid || link.Title == "" || link.TargetBlank {
			t.Errorf("%s leads to %s", where, link.URL)
			return
		}
		linked[d.UID+" "+uid] = true
		set := map[string]bool{}
		parts := strings.Split(query, "&")
		if parts[0] != "${__url_time_range}" {
			t.Errorf("%s does not keep the time: %s", where, link.URL)
		}
		for _, part := range parts[1:] {
			if m := passedOn.FindStringSubmatch(part); m != nil {
				set[m[1]] = true
				if d.variable(m[1]) == nil || to.variable(m[1]) == nil {
					t.Errorf("%s: %s is no variable of both", where, m[1])
				}
				continue
			}
			m := setTo.FindStringSubmatch(part)
			if m == nil {
				t.Errorf("%s: %s may not be safe", where, part)
				continue
			}
			set[m[1]] = true
			if to.variable(m[1]) == nil {
				t.Errorf("%s: %s has no variable %s", where, uid, m[1])
			}
			if m[2] != "" && !slices.ContainsFunc(p.FieldConfig.Overrides, func(o Override) bool { return o.Matcher.Options == m[2] }) {
				t.Errorf("%s: there is no field %s", where, m[2])
			}
			if m[3] != "" && !strings.Contains(p.Targets[0].LegendFormat, "{{"+m[3]+"}}") {
				t.Errorf("%s: there is no label %s", where, m[3])
			}
		}
		for _, kept := range []string{"sensor", "prometheus_datasource", "clickhouse_datasource"} {
			if !set[kept] {
				t.Errorf("%s does not keep %s", where, kept)
			}
		}
		if _, err := url.Parse(regexp.MustCompile(`\$\{[^}]*\}`).ReplaceAllString(link.URL, "x")); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
	for _, d := range All() {
		if l := d.Links[0]; l.Type != "dashboards" || !slices.Equal(l.Tags, d.Tags) || !l.KeepTime || !l.IncludeVars {
			t.Errorf("%s: the navigation is %+v", d.UID, l)
		}
		for _, p := range d.Panels {
			if p.Type == "row" {
				continue
			}
			for _, link := range p.FieldConfig.Defaults.Links {
				check(d, p, link)
			}
			for _, o := range p.FieldConfig.Overrides {
				for _, property := range o.Properties {
					if links, is := property.Value.([]DataLink); is {
						for _, link := range links {
							check(d, p, link)
						}
					}
				}
			}
		}
	}
	for _, want := range []string{Summary + " " + Summary, Summary + " " + Health, Summary + " " + Connections, Summary + " " + Listening, Summary + " " + Flows, Summary + " " + Events,
		Connections + " " + Connections, Connections + " " + Events, Connections + " " + Flows, Connections + " " + DNS, Flows + " " + Events, DNS + " " + Events, Events + " " + Flows, Health + " " + Summary} {
		if !linked[want] {
			t.Errorf("no cell leads on: %s", want)
		}
	}
}

var (
	safe       = regexp.MustCompile(`decodeURLComponent\('\$\{(\w+):percentencode\}'\)`)
	macros     = regexp.MustCompile(`\$__(?:(?:fromTime_ms|toTime_ms|interval_s)\b|(?:timeFilter_ms|timeInterval)\(\w+\))`)
	limited    = regexp.MustCompile(`LIMIT [1-9]\d*$`)
	comments   = regexp.MustCompile(`--|/\*`)
	expression = regexp.MustCompile(`^\w+,?$`)
)

// unsafe says what a text for ClickHouse does with variables that is not allowed.
func unsafe(d *Dashboard, text string) error {
	for _, m := range safe.FindAllStringSubmatch(text, -1) {
		if d.variable(m[1]) == nil {
			return fmt.Errorf("there is no variable %s", m[1])
		}
	}
	rest := macros.ReplaceAllString(safe.ReplaceAllString(text, ""), "")
	if i := strings.IndexAny(rest, "$"); i >= 0 || strings.Contains(rest, "[[") {
		return fmt.Errorf("a variable or macro in a form that is not safe, or not in every version of the plugin: %.60s", rest[max(i, 0):])
	}
	if comments.MatchString(text) || strings.Contains(text, ";") {
		return fmt.Errorf("a comment, or a second statement")
	}
	return nil
}

func TestSQL(t *testing.T) {
	views := documentedColumns(t)
	for _, q := range clickhouseQueries() {
		name, text := q.dashboard.UID+": "+q.name, q.target.RawSQL
		if err := unsafe(q.dashboard, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !limited.MatchString(text) {
			t.Errorf("%s: no limit: %s", name, text)
		}
		if q.target.PluginVersion == "" || q.target.EditorType != "sql" || (q.target.QueryType == "timeseries") != (q.target.Format == 0) {
			t.Errorf("%s: some version of the plugin would change it: %+v", name, q.target)
		}
		fields, source, _ := strings.Cut(strings.TrimPrefix(text, "SELECT\n"), "\nFROM ")
		view, _, called := strings.Cut(strings.TrimPrefix(source, database+"."), "(")
		columns := views[view]
		if strings.HasPrefix(source, database+".events FINAL") {
			columns, called = eventColumns(), true
		}
		for line := range strings.SplitSeq(fields, "\n") {
			if line = strings.TrimSpace(line); called && columns != nil && expression.MatchString(line) && !slices.Contains(columns, strings.TrimSuffix(line, ",")) {
				t.Errorf("%s: %s has no column %s", name, view, line)
			}
		}
		if called && columns == nil && strings.HasPrefix(source, database) {
			t.Errorf("%s: %s is no view of the schema", name, view)
		}
	}
}

// documentedColumns are those of the views, as docs/queries.md says; a test there
// holds them against ClickHouse.
func documentedColumns(t *testing.T) map[string][]string {
	text, err := os.ReadFile("../docs/queries.md")
	if err != nil {
		t.Fatal(err)
	}
	columns := map[string][]string{}
	for _, part := range strings.Split(string(text), "\n### ")[1:] {
		view, body, _ := strings.Cut(part, "\n")
		if _, list, found := strings.Cut(body, "\nColumns: `"); found {
			list, _, _ = strings.Cut(list, "`.\n")
			columns[view] = strings.Split(list, "`, `")
		}
	}
	return columns
}

func eventColumns() (columns []string) {
	for _, kind := range event.Kinds() {
		for _, f := range event.Fields(kind) {
			columns = append(columns, f.Column)
		}
	}
	return append(columns, "kind")
}

// TestUnsafe: the lint sees what it is for.
func TestUnsafe(t *testing.T) {
	d := All()[0]
	for _, text := range []string{"SELECT '${sensor}'", "SELECT '$sensor'", "SELECT ${sensor:singlequote}", "SELECT ${sensor:sqlstring}", "SELECT '[[sensor]]'", "SELECT '${sensor:percentencode}'", "SELECT decodeURLComponent(${sensor:percentencode})",
		"SELECT decodeURLComponent('${nothing:percentencode}')", "SELECT $__dateFilter(d)", "SELECT $__timeFilter(a, b)", "SELECT 1 -- $__toTime", "SELECT 1; SELECT 2", "SELECT 1 /* x */"} {
		if unsafe(d, text) == nil {
			t.Errorf("%s passes", text)
		}
	}
}

// TestPromQL: every expression can be read, asks for metrics and labels that there
// are, and takes the variable in the one form that the data source escapes.
func TestPromQL(t *testing.T) {
	known := knownMetrics(t)
	for _, d := range All() {
		check := func(name, text string) {
			plain := strings.NewReplacer(matcher, "", `sensor_id=~"$sensor|"`, "", "[$__rate_interval]", "[1m]", "[$__range:$__interval]", "[1h:1m]", "[$__range]", "[1h]").Replace(text)
			if strings.Contains(plain, "$") {
				t.Errorf("%s: a variable in a form that is not escaped: %s", name, text)
			}
			e, err := parser.NewParser(parser.Options{}).ParseExpr(strings.NewReplacer(",}", "}", "{,", "{").Replace(plain))
			if err != nil {
				t.Errorf("%s: %v in %s", name, err, text)
				return
			}
			parser.Inspect(e, func(node parser.Node, _ []parser.Node) error {
				if v, is := node.(*parser.VectorSelector); is {
					names := labelsOf(known, v)
					if len(names) == 0 {
						t.Errorf("%s: there is no metric %s", name, v)
					}
					for _, m := range v.LabelMatchers {
						if m.Name != labels.MetricName && !slices.Contains(names, m.Name) {
							t.Errorf("%s: %s has no label %s", name, v.Name, m.Name)
						}
					}
				}
				return nil
			})
		}
		for _, a := range d.Annotations.List {
			if a.Target != nil && a.Target.Expr != "" {
				check(d.UID+": "+a.Name, a.Target.Expr)
			}
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				if target.Expr != "" {
					check(d.UID+": "+p.Title, target.Expr)
				}
			}
		}
	}
}

// knownMetrics are the labels of each metric that is there to be asked for.
func knownMetrics(t *testing.T) map[string][]string {
	known := map[string][]string{"ALERTS": {"alertname", "alertstate", "severity", "sensor_id"}}
	for _, d := range exporter.Describe() {
		known[d.Name] = append([]string{"sensor_id"}, d.Labels...)
		if d.Type == "histogram" {
			known[d.Name+"_bucket"] = append(known[d.Name], "le")
		}
	}
	families, err := exporter.NewRegistry(event.Resource{SensorID: "test"}, func() event.State { return event.State{} }).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if known[f.GetName()] == nil {
			known[f.GetName()] = []string{"sensor_id"}
		}
	}
	settings := alerts.Defaults()
	for _, group := range alerts.Groups(&settings) {
		for _, rule := range group.Rules {
			switch r := rule.(type) {
			case alerts.Record:
				known[r.Name] = []string{"sensor_id", "job", "instance", "outcome", "answer"}
			case alerts.Alert:
				if !slices.ContainsFunc(All(), func(d *Dashboard) bool { return d.UID == r.Dashboard }) {
					t.Errorf("the alert %s leads to the dashboard %s, which is none", r.Name, r.Dashboard)
				}
			}
		}
	}
	return known
}

// labelsOf a selector, nil where it finds no metric that is known.
func labelsOf(known map[string][]string, v *parser.VectorSelector) []string {
	for name, list := range known {
		for _, m := range v.LabelMatchers {
			if m.Name == labels.MetricName && m.Matches(name) {
				return list
			}
		}
	}
	return nil
}
