package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/netview-project/netview/dashboards/standin"
)

// dashboard is the part of the JSON that the queries follow from; the page reads the
// rest itself.
type dashboard struct {
	Templating  struct{ List []variable }
	Annotations struct{ List []annotation }
	Panels      []panel
	raw         json.RawMessage
}

type variable struct {
	Name, Label, Type, AllValue string
	Multi, IncludeAll           bool
	Hide                        int
	Query                       json.RawMessage
	Current                     struct{ Value any }
	Options                     []struct{ Value any }
}

type annotation struct {
	Name, IconColor string
	Enable          bool
	Target          *target
}

type panel struct {
	ID             int
	Type, Interval string
	Title          string
	GridPos        struct{ X, Y, W, H int }
	Targets        []target
}

type target struct {
	RefID                   string
	Datasource              struct{ Type string }
	RawSQL, Expr            string `json:",omitempty"`
	LegendFormat, QueryType string
	Format                  any
	Instant, Hide           bool
	Interval                string
}

func read(file string) (*dashboard, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := &dashboard{raw: text}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("%s is no dashboard: %w", file, err)
	}
	return d, nil
}

// view is the dashboard as it opens, but for the variables that are given. A value that
// begins with ~ is a regular expression of the values that the variable's query finds.
func (d *dashboard) view(ctx context.Context, s *sources, given map[string]string, from, to time.Time) (standin.View, error) {
	view := standin.View{From: from, To: to, Variables: map[string]standin.Variable{}}
	for _, v := range d.Templating.List {
		variable := standin.Variable{Values: texts(v.Current.Value), Multi: v.Multi, IncludeAll: v.IncludeAll, AllValue: v.AllValue}
		for _, o := range v.Options {
			if value := fmt.Sprint(o.Value); value != standin.All {
				variable.Options = append(variable.Options, value)
			}
		}
		if value, is := given[v.Name]; is {
			variable.Values = []string{value}
			if pattern, is := strings.CutPrefix(value, "~"); is {
				var err error
				if variable.Values, err = v.matching(ctx, s, view, pattern); err != nil {
					return view, fmt.Errorf("--var %s=%s: %w", v.Name, value, err)
				}
			}
		}
		view.Variables[v.Name] = variable
	}
	for name := range given {
		if _, is := view.Variables[name]; !is {
			return view, fmt.Errorf("--var %s: the dashboard has no such variable", name)
		}
	}
	return view, nil
}

// matching values of the first column that the variable's query finds.
func (v *variable) matching(ctx context.Context, s *sources, view standin.View, pattern string) (values []string, err error) {
	expression, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	var query target
	if err := json.Unmarshal(v.Query, &query); err != nil {
		return nil, fmt.Errorf("its query is none of ClickHouse: %w", err)
	}
	frames, err := s.ask(ctx, &query, view)
	if err != nil {
		return nil, err
	}
	for _, value := range frames[0].Fields[0].Values {
		if text := fmt.Sprint(value); expression.MatchString(text) {
			values = append(values, text)
		}
	}
	if len(values) == 0 {
		return nil, errors.New("its query finds no such value")
	}
	return values, nil
}

func texts(value any) (list []string) {
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			list = append(list, fmt.Sprint(v))
		}
	case nil:
	default:
		list = []string{fmt.Sprint(value)}
	}
	return list
}

// shown is what stands in the fields of the variables.
func (d *dashboard) shown(view standin.View) (fields [][2]string) {
	for _, v := range d.Templating.List {
		if v.Hide != 2 && v.Type != "datasource" {
			text, _ := view.Text("${" + v.Name + "}")
			fields = append(fields, [2]string{v.Label, text})
		}
	}
	return fields
}

// Rows of the grid, and what stands above them, in pixels.
const (
	gridRow = 38
	header  = 96
)

func (d *dashboard) height() (pixels int) {
	for _, p := range d.Panels {
		pixels = max(pixels, (p.GridPos.Y+p.GridPos.H)*gridRow)
	}
	return header + pixels + 8
}

// answer is what a panel has to show.
type answer struct {
	Title  string   `json:"title"`
	Frames []*frame `json:"frames"`
	Error  string   `json:"error,omitempty"`
}

// ask runs the queries of the panels and the annotations; the latter are the answer
// with the key 0.
func (d *dashboard) ask(ctx context.Context, s *sources, view standin.View, width int) (answers map[int]*answer, failed int) {
	answers = map[int]*answer{0: {}}
	run := func(a *answer, t target, points int, least string) {
		at := view
		shortest, err := time.ParseDuration(least)
		if least == "" {
			shortest, err = 0, nil
		}
		if err == nil {
			at.Interval = standin.Interval(at.To.Sub(at.From), points, shortest)
			var frames []*frame
			if frames, err = s.ask(ctx, &t, at); err == nil {
				a.Frames = append(a.Frames, frames...)
				return
			}
		}
		failed++
		a.Error = err.Error()
		fmt.Fprintf(os.Stderr, "  %s %s: %v\n", a.Title, t.RefID, err)
	}
	for _, p := range d.Panels {
		a := &answer{}
		var err error
		if a.Title, err = view.Text(p.Title); err != nil {
			a.Error, a.Title = err.Error(), p.Title
			failed++
		}
		answers[p.ID] = a
		for _, t := range p.Targets {
			if !t.Hide {
				run(a, t, p.GridPos.W*width/24-100, strings.TrimPrefix(p.Interval, ">"))
			}
		}
	}
	for _, a := range d.Annotations.List {
		if a.Enable && a.Target != nil {
			before := len(answers[0].Frames)
			run(answers[0], *a.Target, 1000, a.Target.Interval)
			for _, f := range answers[0].Frames[before:] {
				f.Name = a.IconColor
			}
		}
	}
	return answers, failed
}
