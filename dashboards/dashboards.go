// Package dashboards describes netview's Grafana dashboards. Each has a file; what
// they share is in model.go (the JSON), panel.go (panels and links), look.go
// (colours and names), variables.go, and interpolate.go, the one place where a
// variable becomes part of SQL. `make generate` writes json/ from it;
// queries_test.go and prometheus_test.go ask real servers everything.
package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Uids, which links lead to.
const (
	Summary     = "netview-summary"
	Connections = "netview-connections"
	Listening   = "netview-listening"
	Flows       = "netview-flows"
	DNS         = "netview-dns"
	Events      = "netview-events"
	Health      = "netview-health"
)

// tag by which the dashboards find each other.
const tag = "netview"

// view is a dashboard before it is JSON.
type view struct {
	uid, title, about string
	// variables beside those that every dashboard has.
	variables []*Variable
	sections  []section
}

func views() []view {
	return []view{summaryView(), connectionsView(), listeningView(), flowsView(), dnsView(), eventsView(), healthView()}
}

func (v *view) allVariables() []*Variable {
	return append([]*Variable{datasourceVariable("prometheus_datasource", "Prometheus", prometheusSource.Type), datasourceVariable("clickhouse_datasource", "ClickHouse", clickhouseSource.Type),
		sensorVariable()}, v.variables...)
}

// All returns the dashboards, in the order of their navigation.
func All() []*Dashboard {
	all := views()
	variables := map[string][]*Variable{}
	for _, v := range all {
		variables[v.uid] = v.allVariables()
	}
	var list []*Dashboard
	for _, v := range all {
		here := variables[v.uid]
		d := &Dashboard{UID: v.uid, Title: "netview / " + v.title, Description: v.about, Tags: []string{tag}, SchemaVersion: 39, Editable: true, GraphTooltip: 1, Refresh: "30s", Timezone: "browser",
			Time: TimeRange{"now-1h", "now"}, Templating: Variables{here}, Annotations: annotations(), Panels: arranged(v.sections),
			Links: []Link{{Title: "netview", Type: "dashboards", Icon: "external link", Tooltip: "The other views, with this time and these filters", Tags: []string{tag}, IncludeVars: true, KeepTime: true}}}
		for _, p := range d.Panels {
			p.resolve(func(l lead) DataLink { return DataLink{Title: l.title, URL: l.url(here, variables[l.uid])} })
		}
		list = append(list, d)
	}
	return list
}

// resolve writes the links of the fields, and under no name those of all.
func (p *Panel) resolve(link func(lead) DataLink) {
	for name, leads := range p.links {
		var links []DataLink
		for _, l := range leads {
			links = append(links, link(l))
		}
		if name == "" {
			p.FieldConfig.Defaults.Links = links
			continue
		}
		i := slices.IndexFunc(p.FieldConfig.Overrides, func(o Override) bool { return o.Matcher.Options == name })
		p.FieldConfig.Overrides[i].Properties = append(p.FieldConfig.Overrides[i].Properties, Property{"links", links})
	}
}

// annotations mark in every graph what interrupted the record, and alerts.
func annotations() Annotations {
	disruption := func(what string) *Target {
		t := sql("SELECT timestamp AS time, concat(sensor_id, ': ', detail) AS text, what AS tags\nFROM " + call("disruptions") + "\nWHERE what = '" + what + "'\nORDER BY time\nLIMIT 200")
		t.RefID = "Anno"
		return t
	}
	alerts := promql("", `ALERTS{alertname=~"Netview.*", alertstate="firing", sensor_id=~"$sensor|"}`)
	alerts.RefID, alerts.Interval = "Anno", "60s"
	return Annotations{[]Annotation{
		{Name: "Annotations & Alerts", BuiltIn: 1, Datasource: Datasource{"grafana", "-- Grafana --"}, Enable: true, Hide: true, IconColor: "rgba(0, 211, 255, 1)", Type: "dashboard"},
		{Name: "Sensor starts", Datasource: clickhouseSource, Enable: true, IconColor: blue, Target: disruption("start")},
		{Name: "Gaps in the record", Datasource: clickhouseSource, Enable: true, IconColor: red, Target: disruption("gap")},
		{Name: "Alerts", Datasource: prometheusSource, Enable: true, IconColor: orange, Target: alerts, TitleFormat: "{{alertname}}", TextFormat: "{{sensor_id}} {{severity}}", TagKeys: "severity"},
	}}
}

// JSON is what is committed, by file name.
func JSON() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, d := range All() {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false) // SQL and PromQL stay readable
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(d); err != nil {
			return nil, fmt.Errorf("writing the dashboard %s: %w", d.UID, err)
		}
		files[d.UID+".json"] = text.Bytes()
	}
	return files, nil
}
