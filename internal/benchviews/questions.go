package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netview-project/netview/dashboards"
	"github.com/netview-project/netview/dashboards/standin"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
)

// question is asked of one sensor and of the fleet.
type question struct {
	name       string
	one, fleet string // SQL; one is empty where there is no such question
}

// table of questions, as it is printed.
type table struct {
	title     string
	questions []question
}

// moment in SQL.
func moment(t time.Time) string {
	return "toDateTime64('" + t.UTC().Format("2006-01-02 15:04:05.000") + "', 3, 'UTC')"
}

// ofViews asks every view of the schema. `at` is the end of the window.
func ofViews(from, to time.Time, sensor string) (list []question) {
	views := clickhouse.Views()
	call := func(view clickhouse.View, arguments ...string) string {
		values := map[string]string{"sensor_id": "''", "at": moment(to), "since": moment(from), "until": moment(to), "page": "1", "page_size": "100",
			"after": "''", "limit": "100", "kind": "''", "process": "''", "address": "''", "port": "0", "name": "''", "final_state": "''"}
		for pair := range slices.Chunk(arguments, 2) {
			values[pair[0]] = pair[1]
		}
		var given []string
		for _, p := range view.Parameters {
			given = append(given, p.Name+" = "+values[p.Name])
		}
		return fmt.Sprintf("SELECT * FROM netview.%s(%s)", view.Name, strings.Join(given, ", "))
	}
	for _, view := range views {
		searches := [][]string{{""}}
		switch view.Name {
		case "events_search":
			searches = append(searches, []string{" by an address", "address", "'198.18.0.8'"}, []string{" by an address that nobody has", "address", "'203.0.113.7'"}, []string{" by a CIDR", "address", "'198.18.1.0/28'"},
				[]string{" by process and port", "process", "'nginx'", "port", "443"}, []string{" by name", "name", "'service-007.example.com'"})
		case "names_of_address":
			searches = append(searches, []string{" of an address", "address", "'198.18.0.8'"})
		}
		for _, search := range searches {
			list = append(list, question{"`" + view.Name + "`" + search[0], call(view, append([]string{"sensor_id", "'" + sensor + "'"}, search[1:]...)...), call(view, search[1:]...)})
		}
	}
	return list
}

// points is how many a graph has that is half as wide as a screen.
const points = 800

// ofPanels asks what the dashboards ask of ClickHouse, as Grafana would.
func ofPanels(from, to time.Time, sensor string) (list []question, err error) {
	asked := map[string]bool{} // what several dashboards have is asked once
	for _, d := range dashboards.All() {
		ask := func(name string, t *dashboards.Target) {
			if t == nil || t.RawSQL == "" || asked[t.RawSQL] || err != nil {
				return
			}
			asked[t.RawSQL] = true
			view := d.Opened(from, to)
			view.Interval = standin.Interval(to.Sub(from), points, 15*time.Second)
			q := question{name: strings.TrimPrefix(d.Title, "netview / ") + ": " + name}
			if q.fleet, err = view.SQL(t.RawSQL); err == nil && strings.Contains(t.RawSQL, "{sensor:") {
				picked := view.Variables["sensor"]
				picked.Values = []string{sensor}
				view.Variables["sensor"] = picked
				q.one, err = view.SQL(t.RawSQL)
			}
			list = append(list, q)
		}
		for _, p := range d.Panels {
			for _, t := range p.Targets {
				ask(p.Title, t)
			}
		}
		for _, v := range d.Templating.List {
			if t, is := v.Query.(*dashboards.Target); is {
				ask("the choice of "+v.Name, t)
			}
		}
		for _, a := range d.Annotations.List {
			ask("the marks "+a.Name, a.Target)
		}
	}
	return list, err
}
