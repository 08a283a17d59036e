// Package standin does to a dashboard's text and queries what Grafana's frontend and
// the ClickHouse and Prometheus plugins do to them before they reach a server. It is
// a stand-in, for tests and previews where no Grafana can be run: it knows what the
// dashboards of this project may use, and what it does not know is an error, where
// Grafana would send the text as it stands.
//
// The order is Grafana's: the frontend takes $__conditionalAll out, then puts in the
// variables, once, whatever their values hold; the backend expands the macros of
// what that gave. Sources: templateSrv and formatRegistry of Grafana 10 to 13,
// CHDatasource.ts, macros.go and sqlutil of grafana-clickhouse-datasource 4.x, and
// the prometheus data source's query.go.
package standin

import (
	"fmt"
	"strings"
	"time"
)

// All is the value of a variable that has everything chosen, as in a URL.
const All = "$__all"

// Variable is what a dashboard has chosen for a variable.
type Variable struct {
	// Values that are chosen; [All] for all.
	Values []string
	// Multi is true where several can be chosen: one value is a list then, too.
	Multi bool
	// IncludeAll is true where all can be chosen.
	IncludeAll bool
	// AllValue is the custom all value. Where it is empty, all is the list of Options.
	AllValue string
	Options  []string
}

func (v Variable) all() bool { return len(v.Values) > 0 && v.Values[0] == All }

// value has one value where it is no list.
func (v Variable) value() value {
	switch {
	case v.all() && v.AllValue != "":
		return value{values: []string{v.AllValue}}
	case v.all():
		return value{v.Options, true}
	case v.Multi || len(v.Values) > 1:
		return value{v.Values, true}
	}
	return value{values: []string{strings.Join(v.Values, "")}}
}

type value struct {
	values []string
	list   bool
}

// View is a dashboard as somebody looks at it.
type View struct {
	Variables map[string]Variable
	From, To  time.Time
	// Interval between the points of a graph, which Grafana takes from the range and
	// the panel's width; at least a millisecond.
	Interval time.Duration
	// Scrape is the interval that the Prometheus data source is told, 15 s where it is 0.
	Scrape time.Duration
}

// Expand is what ClickHouse gets of a query. A variable of one value takes one, others
// are lists; all of them have the custom all value {}. Use a [View] to tell more.
func Expand(sql string, vars map[string][]string, from, to time.Time, interval time.Duration) (string, error) {
	view := View{Variables: map[string]Variable{}, From: from, To: to, Interval: interval}
	for name, values := range vars {
		view.Variables[name] = Variable{Values: values, Multi: len(values) != 1, IncludeAll: true, AllValue: "{}"}
	}
	return view.SQL(sql)
}

// SQL is what ClickHouse gets of a query.
func (v View) SQL(sql string) (string, error) {
	if err := checkComments(sql); err != nil {
		return "", err
	}
	sql, err := v.conditionalAll(sql)
	if err != nil {
		return "", err
	}
	builtin := map[string]string{"__from": milliseconds(v.From), "__to": milliseconds(v.To),
		"__interval": seconds(v.Interval), "__interval_ms": fmt.Sprint(v.Interval.Milliseconds())}
	if sql, err = v.replace(sql, builtin, portable, formatQuoted); err != nil {
		return "", err
	}
	return v.macros(sql)
}

// PromQL is what Prometheus gets of an expression.
func (v View) PromQL(expr string) (string, error) {
	length := v.To.Sub(v.From)
	rate := max(v.Interval+v.scrape(), 4*v.scrape())
	return v.replace(expr, map[string]string{"__from": milliseconds(v.From), "__to": milliseconds(v.To),
		"__interval": seconds(v.Interval), "__interval_ms": fmt.Sprint(v.Interval.Milliseconds()),
		"__range": seconds(length.Round(time.Second)), "__range_s": fmt.Sprint(int64(length.Round(time.Second).Seconds())), "__range_ms": fmt.Sprint(length.Milliseconds()),
		"__rate_interval": seconds(rate), "__rate_interval_ms": fmt.Sprint(rate.Milliseconds())}, nil, formatPrometheus)
}

func (v View) scrape() time.Duration {
	if v.Scrape == 0 {
		return 15 * time.Second
	}
	return v.Scrape
}

// Text is what a title or a description shows; all values are All there.
func (v View) Text(text string) (string, error) {
	named := View{Variables: map[string]Variable{}}
	for name, variable := range v.Variables {
		variable.AllValue = ""
		named.Variables[name] = variable
	}
	return named.replace(text, nil, nil, formatText)
}

func milliseconds(t time.Time) string { return fmt.Sprint(t.UnixMilli()) }

// seconds is a duration as both servers read it, in whole seconds where it can be.
func seconds(d time.Duration) string {
	if d%time.Second != 0 {
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	return fmt.Sprintf("%ds", int64(d.Seconds()))
}
