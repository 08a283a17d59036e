package dashboards

import (
	"fmt"
	"slices"
	"strings"
)

var (
	prometheusSource = Datasource{"prometheus", "${prometheus_datasource}"}
	clickhouseSource = Datasource{"grafana-clickhouse-datasource", "${clickhouse_datasource}"}
)

// sql is a target of ClickHouse in the form that every version of its plugin from
// 4.0 on takes as it is: without pluginVersion it would be migrated.
func sql(query string) *Target {
	return &Target{RefID: "A", Datasource: clickhouseSource, EditorType: "sql", QueryType: "table", Format: 1, PluginVersion: "4.0.8", RawSQL: query}
}

// series is sql with the time first, in ascending order.
func series(query string) *Target {
	t := sql(query)
	t.QueryType, t.Format = "timeseries", 0
	return t
}

// promql is an expression in which $SENSOR stands for the matcher of the picked
// sensors. The data source itself escapes the values, because the variable has no
// format: with :regex nothing would escape quotes. A double quote it escapes only where
// Grafana has the toggle prometheusSpecialCharsInLabelValues; elsewhere one in a
// link can show other series of the same Prometheus, or an error.
func promql(legend, expr string) *Target {
	return &Target{Datasource: prometheusSource, EditorMode: "code", Range: true, LegendFormat: legend, Expr: strings.ReplaceAll(expr, "$SENSOR", matcher)}
}

// topTen are the series of an expression that were the highest at some time of the
// range: the same ones in all of it, which topk alone would choose anew at each step.
func topTen(expr string) string {
	return expr + " and topk(10, max_over_time((" + expr + ")[$__range:$__interval] @ end()))"
}

const matcher = `sensor_id=~"$sensor"`

// instant is promql at the end of the time range alone.
func instant(legend, expr string) *Target {
	t := promql(legend, expr)
	t.Range, t.Instant = false, true
	return t
}

// field is a column of a result: how it is asked for and how it looks.
type field struct {
	name string
	// sql that the column is, where it is not called so.
	sql        string
	title      string
	unit       string
	width      int
	colors     named
	thresholds *Thresholds
	// cell is how a table shows it: auto, color-text, color-background or gauge.
	cell     string
	behind   bool
	decimals *int
	leads    []lead
}

func (f field) as(sql string) field        { f.sql = sql; return f }
func (f field) wide(width int) field       { f.width = width; return f }
func (f field) to(leads ...lead) field     { f.leads = leads; return f }
func (f field) judged(t *Thresholds) field { f.thresholds = t; return f }
func (f field) exact(decimals int) field   { f.decimals = &decimals; return f }

// aside is for columns that one may have to scroll to: the others fit into the panel
// on a screen of 1600 pixels.
func (f field) aside() field { f.behind = true; return f }

func (f field) selected() string {
	if f.sql == "" || f.sql == f.name {
		return f.name
	}
	return f.sql + " AS " + f.name
}

func selected(fields []field) string {
	var list []string
	for _, f := range fields {
		list = append(list, f.selected())
	}
	return "SELECT\n    " + strings.Join(list, ",\n    ")
}

// number and word are columns without a colour.
func number(name, title, unit string) field {
	return field{name: name, title: title, unit: unit, width: 90}
}

func word(name, title string, width int) field {
	return field{name: name, title: title, unit: plain, width: width}
}

// state is a word that has a colour.
func state(name, title string, colors named) field {
	return field{name: name, title: title, unit: plain, width: 95, colors: colors, cell: "color-text"}
}

// gauge is a number with a bar.
func gauge(name, title, unit string) field {
	return field{name: name, title: title, unit: unit, width: 140, cell: "gauge"}
}

// headerWidth is what a title takes, in pixels, and filterWidth the mark beside it that
// opens a filter.
func headerWidth(title string) int { return 14 + 7*len([]rune(title)) }

const filterWidth = 20

func (f field) override(table bool) Override {
	o := Override{Matcher: Matcher{"byName", f.name}}
	set := func(id string, value any) { o.Properties = append(o.Properties, Property{id, value}) }
	set("displayName", f.title)
	set("unit", f.unit)
	if f.decimals != nil {
		set("decimals", *f.decimals)
	}
	if f.colors != nil {
		set("mappings", f.colors.mappings())
	}
	switch {
	case f.thresholds != nil:
		set("thresholds", f.thresholds)
		set("color", Color{Mode: "thresholds"})
	case f.cell == "gauge":
		set("color", Color{Mode: "continuous-BlPu"})
		set("min", 0)
		set("fieldMinMax", true) // else the bars are parts of the table's largest number; from Grafana 10.2 on
	}
	if !table {
		return o
	}
	set("noValue", "–") // the panel's own is for an empty table
	if f.width > 0 {
		set("custom.width", f.width)
	}
	if number := f.colors == nil && f.unit != plain; !number && (f.width == 0 || f.width >= headerWidth(f.title)+filterWidth) {
		set("custom.filterable", true)
	}
	cell := f.cell
	if cell == "" && f.thresholds != nil {
		cell = "color-text"
	}
	switch cell {
	case "gauge":
		set("custom.cellOptions", map[string]any{"type": "gauge", "mode": "basic", "valueDisplayMode": "text"})
	case "":
	default:
		set("custom.cellOptions", map[string]any{"type": cell})
	}
	return o
}

func newPanel(kind, title, about, empty string, width int) *Panel {
	return &Panel{Type: kind, Title: title, Description: about, GridPos: GridPos{W: width}, links: map[string][]lead{},
		FieldConfig: &FieldConfig{Defaults: Field{Unit: plain, NoValue: empty, Mappings: []Mapping{}}, Overrides: []Override{}}}
}

func (p *Panel) ask(targets ...*Target) {
	for i, t := range targets {
		t.RefID = string(rune('A' + i))
	}
	p.Targets, p.Datasource = targets, &targets[0].Datasource
}

func (p *Panel) look(table bool, fields []field) {
	for _, f := range fields {
		p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, f.override(table))
		if len(f.leads) > 0 {
			p.links[f.name] = f.leads
		}
		if f.behind {
			p.behind++
		}
	}
}

// reduce is what panels of single values do with a result: the newest of each
// series, or with all the rows as they are.
func reduce(all bool) map[string]any {
	return map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": all}
}

// numbers are the fields of one row, side by side. What is empty says so: the query
// has no row then.
func numbers(width int, title, about, empty, source string, fields ...field) *Panel {
	p := newPanel("stat", title, about, empty, width)
	p.ask(sql(selected(fields) + "\nFROM " + source + "\nLIMIT 1"))
	p.statOptions(fields)
	return p
}

// texts are numbers that are words.
func (p *Panel) texts() *Panel {
	p.Options.(map[string]any)["reduceOptions"].(map[string]any)["fields"] = "/.*/"
	return p
}

// gauges are numbers of Prometheus, each a target whose legend is the field's name.
func gauges(width int, title, about, empty string, fields ...field) *Panel {
	p := newPanel("stat", title, about, empty, width)
	var targets []*Target
	for _, f := range fields {
		targets = append(targets, instant(f.name, f.sql))
	}
	p.ask(targets...)
	p.statOptions(fields)
	return p
}

func (p *Panel) statOptions(fields []field) {
	p.FieldConfig.Defaults.Color = &Color{Mode: "thresholds"}
	p.FieldConfig.Defaults.Thresholds = neutral
	p.Options = map[string]any{"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "value_and_name",
		"wideLayout": true, "showPercentChange": false, "percentChangeColorMode": "standard", "reduceOptions": reduce(false)}
	p.look(false, fields)
}

// graph is a line for each series; colors gives those their own that have a name.
func graph(width int, title, about, empty, unit string, colors named, targets ...*Target) *Panel {
	p := newPanel("timeseries", title, about, empty, width)
	p.ask(targets...)
	p.Interval = "15s" // no finer than the heartbeat
	zero := 0.
	p.FieldConfig.Defaults.Unit, p.FieldConfig.Defaults.Min, p.FieldConfig.Defaults.Color = unit, &zero, &Color{Mode: "palette-classic"}
	p.FieldConfig.Defaults.Custom = map[string]any{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 8, "gradientMode": "none", "showPoints": "never", "spanNulls": 90_000,
		"lineInterpolation": "linear", "stacking": map[string]any{"mode": "none", "group": "A"}, "axisSoftMin": 0}
	legend := map[string]any{"displayMode": "table", "placement": "right", "showLegend": true, "calcs": []string{"lastNotNull", "max"}}
	if width < 12 { // a table would leave no room for the lines
		legend = map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}}
	}
	p.Options = map[string]any{"legend": legend, "tooltip": map[string]any{"mode": "multi", "sort": "desc", "hideZeros": true}}
	for _, s := range colors {
		o := Override{Matcher: Matcher{"byName", s.value}, Properties: []Property{{"color", Color{Mode: "fixed", FixedColor: s.color}}}}
		if s.text != "" {
			o.Properties = append(o.Properties, Property{"displayName", s.text})
		}
		p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, o)
	}
	return p
}

// many is a graph of more series than there are colours to fill with.
func (p *Panel) many() *Panel {
	p.FieldConfig.Defaults.Custom["fillOpacity"] = 0
	return p
}

// upTo keeps the axis from ending below a value, so that little looks like little.
func (p *Panel) upTo(value float64) *Panel {
	p.FieldConfig.Defaults.Custom["axisSoftMax"] = value
	return p
}

// warnedAt draws a line at the value from which on it is bad.
func (p *Panel) warnedAt(value float64) *Panel {
	p.FieldConfig.Defaults.Thresholds = levels(green, value, red)
	p.FieldConfig.Defaults.Custom["thresholdsStyle"] = map[string]any{"mode": "dashed"}
	return p.upTo(value)
}

// stacked is a graph whose series add up.
func (p *Panel) stacked() *Panel {
	custom := p.FieldConfig.Defaults.Custom
	custom["stacking"] = map[string]any{"mode": "normal", "group": "A"}
	custom["fillOpacity"], custom["lineWidth"] = 45, 0
	return p
}

// bars are stacked columns, for what happened in each interval. The last interval
// is not over, so that the legend has sums in place of last values.
func (p *Panel) bars() *Panel {
	p.stacked()
	p.FieldConfig.Defaults.Custom["drawStyle"], p.FieldConfig.Defaults.Custom["fillOpacity"] = "bars", 80
	legend := p.Options.(map[string]any)["legend"].(map[string]any)
	if legend["calcs"] = []string{"sum"}; legend["displayMode"] == "table" {
		legend["calcs"] = []string{"sum", "max"}
	}
	return p
}

// perInterval counts what happened, a series for each value of a column; other is
// what is none of them.
func perInterval(column string, values []string, source string) *Target {
	return series(pivot("$__timeInterval(timestamp) AS time", column, values) + "\nFROM " + source + "\nGROUP BY time\nORDER BY time\nLIMIT 11000")
}

func pivot(time, column string, values []string) string {
	list := []string{time}
	known := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == other })
	for _, v := range values {
		is := fmt.Sprintf("= '%s'", v)
		if v == other {
			is = "NOT IN ('" + strings.Join(known, "', '") + "')"
		}
		list = append(list, fmt.Sprintf("countIf(%s %s) AS `%s`", column, is, v))
	}
	return "SELECT\n    " + strings.Join(list, ",\n    ")
}

// ranking are bars, the longest first, of targets that say how many.
func ranking(width int, title, about, empty, unit string, leads []lead, targets ...*Target) *Panel {
	p := newPanel("bargauge", title, about, empty, width)
	p.ask(targets...)
	zero := 0.
	p.FieldConfig.Defaults.Unit, p.FieldConfig.Defaults.Min, p.FieldConfig.Defaults.Color = unit, &zero, &Color{Mode: "continuous-BlPu"}
	p.Options = map[string]any{"displayMode": "gradient", "orientation": "horizontal", "showUnfilled": true, "valueMode": "text", "namePlacement": "left", "sizing": "auto",
		"minVizWidth": 8, "minVizHeight": 16, "maxVizHeight": 300, "reduceOptions": reduce(targets[0].RawSQL != ""),
		"legend": map[string]any{"calcs": []string{}, "displayMode": "list", "placement": "bottom", "showLegend": false}}
	p.links[""] = leads
	return p
}

// judged bars have the colours of levels.
func (p *Panel) judged(t *Thresholds) *Panel {
	p.FieldConfig.Defaults.Color, p.FieldConfig.Defaults.Thresholds = &Color{Mode: "thresholds"}, t
	return p
}

// outlierFrom is for scores that are unusual from a value on; that is half a bar, so
// that a quiet fleet looks quiet.
func (p *Panel) outlierFrom(score float64) *Panel {
	most, decimals := 2*score, 1
	p.FieldConfig.Defaults.Max, p.FieldConfig.Defaults.Decimals = &most, &decimals
	return p.judged(levels(blue, score, orange))
}

// table is rows of ClickHouse. The source is what stands after FROM; the limit is
// part of every query. The column without a width takes what the others leave. Grafana
// counts those aside, too, which would leave it nothing: there it is set.
func table(width int, title, about, empty, source, order string, limit int, fields ...field) *Panel {
	p := newPanel("table", title, about, empty, width)
	query := selected(fields) + "\nFROM " + source
	if order != "" {
		query += "\n" + order
	}
	p.ask(sql(fmt.Sprintf("%s\nLIMIT %d", query, limit)))
	p.FieldConfig.Defaults.Custom = map[string]any{"align": "auto", "cellOptions": map[string]any{"type": "auto"}, "filterable": false, "inspect": false}
	if fields[len(fields)-1].behind {
		i := slices.IndexFunc(fields, func(f field) bool { return f.width == 0 })
		fields[i].width = room(width)
		for j, f := range fields {
			if j != i && !f.behind {
				fields[i].width -= f.width
			}
		}
	}
	p.Options = map[string]any{"showHeader": true, "frameIndex": 0, "cellHeight": "sm"}
	p.look(true, fields)
	return p
}

// room is what a table has for its columns, in pixels, in a window of 1600.
func room(width int) int { return 66*width - 28 }

// section is a heading with its lines of panels.
type section struct {
	title string
	lines []line
}

// line is panels beside each other, all as high.
type line struct {
	height int
	panels []*Panel
}

func row(height int, panels ...*Panel) line { return line{height, panels} }

// arranged places the panels of all sections below each other and numbers them.
func arranged(sections []section) (all []*Panel) {
	y := 0
	add := func(p *Panel, x, w, h int) {
		p.ID, p.GridPos = len(all)+1, GridPos{x, y, w, h}
		all = append(all, p)
	}
	for _, s := range sections {
		add(&Panel{Type: "row", Title: s.title, Collapsed: new(bool), Panels: &[]*Panel{}}, 0, 24, 1)
		y++
		for _, l := range s.lines {
			x := 0
			for _, p := range l.panels {
				add(p, x, p.GridPos.W, l.height)
				x += p.GridPos.W
			}
			y += l.height
		}
	}
	return all
}

// lead is a link from a value to a dashboard, with variables set: name, value, …
type lead struct {
	title, uid string
	set        []string
}

func leadTo(title, uid string, set ...string) lead { return lead{title, uid, set} }

// of is the value of a field of the same row.
func of(field string) string { return "${__data.fields." + field + ":percentencode}" }

// url keeps the time, and the variables that both dashboards have.
func (l lead) url(here, there []*Variable) string {
	url := "/d/" + l.uid + "/" + l.uid + "?${__url_time_range}"
	for _, v := range here {
		if slices.ContainsFunc(there, func(o *Variable) bool { return o.Name == v.Name }) && !slices.Contains(l.set, v.Name) {
			url += "&${" + v.Name + ":queryparam}"
		}
	}
	for i := 0; i < len(l.set); i += 2 {
		url += "&var-" + l.set[i] + "=" + l.set[i+1]
	}
	return url
}
