package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netview-project/netview/dashboards/standin"
)

// sources are the URLs of the servers.
type sources struct{ clickhouse, prometheus string }

// frame is a table as Grafana's frontend has it.
type frame struct {
	RefID  string   `json:"refId"`
	Name   string   `json:"name,omitempty"`
	Fields []*field `json:"fields"`
}

type field struct {
	Name   string            `json:"name"`
	Type   string            `json:"type"`
	Labels map[string]string `json:"labels,omitempty"`
	Config map[string]any    `json:"config"`
	Values []any             `json:"values"`
}

// Types of fields.
const (
	typeTime    = "time"
	typeNumber  = "number"
	typeString  = "string"
	typeBoolean = "boolean"
)

var errNoPrometheus = errors.New("no Prometheus is given")

func (s *sources) ask(ctx context.Context, t *target, view standin.View) ([]*frame, error) {
	if t.Datasource.Type == "prometheus" {
		expr, err := view.PromQL(t.Expr)
		if err != nil {
			return nil, err
		}
		return s.askPrometheus(ctx, t, expr, view)
	}
	sql, err := view.SQL(t.RawSQL)
	if err != nil {
		return nil, err
	}
	return s.askClickHouse(ctx, t, sql)
}

// fetch returns the body, also with a status that says no.
func fetch(request *http.Request) (*http.Response, []byte, error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}

func (s *sources) askClickHouse(ctx context.Context, t *target, sql string) ([]*frame, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.clickhouse+"/?default_format=JSONCompact", strings.NewReader(sql))
	if err != nil {
		return nil, err
	}
	response, body, err := fetch(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ClickHouse: %s", strings.TrimSpace(string(body)))
	}
	var table struct {
		Meta []struct{ Name, Type string }
		Data [][]any
	}
	if err := json.Unmarshal(body, &table); err != nil {
		return nil, fmt.Errorf("ClickHouse answered no JSON: %w", err)
	}
	zone, err := time.LoadLocation(response.Header.Get("X-ClickHouse-Timezone"))
	if err != nil {
		return nil, err
	}
	f := &frame{RefID: t.RefID}
	for i, column := range table.Meta {
		kind, read := reader(column.Type, zone)
		values := make([]any, len(table.Data))
		for n, row := range table.Data {
			values[n] = read(row[i])
		}
		f.Fields = append(f.Fields, &field{Name: column.Name, Type: kind, Config: map[string]any{}, Values: values})
	}
	if fmt.Sprint(t.Format) == "0" {
		return []*frame{wide(f)}, nil
	}
	return []*frame{f}, nil
}

var (
	wrapped  = regexp.MustCompile(`^(?:Nullable|LowCardinality)\((.*)\)$`)
	zoned    = regexp.MustCompile(`^DateTime.*'(.*)'`)
	isNumber = regexp.MustCompile(`^(U?Int|Float|Decimal)`)
)

// reader is the type of a column in Grafana, and what makes one of its values.
func reader(column string, zone *time.Location) (kind string, read func(any) any) {
	for wrapped.MatchString(column) {
		column = wrapped.ReplaceAllString(column, "$1")
	}
	switch {
	case strings.HasPrefix(column, "Date"):
		if part := zoned.FindStringSubmatch(column); part != nil {
			if named, err := time.LoadLocation(part[1]); err == nil {
				zone = named
			}
		}
		return typeTime, func(value any) any {
			text, _ := value.(string)
			for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02"} {
				if at, err := time.ParseInLocation(layout, text, zone); err == nil {
					return float64(at.UnixMicro()) / 1000
				}
			}
			return nil
		}
	case isNumber.MatchString(column):
		return typeNumber, func(value any) any {
			if text, is := value.(string); is { // 64 bits come as text
				number, err := strconv.ParseFloat(text, 64)
				if err != nil {
					return nil
				}
				return number
			}
			return value
		}
	case column == "Bool":
		return typeBoolean, func(value any) any { return value }
	}
	return typeString, func(value any) any {
		if _, is := value.([]any); is {
			text, _ := json.Marshal(value)
			return string(text)
		}
		return value
	}
}

// wide makes a field for each value of the texts in a time series, as the plugin does.
func wide(f *frame) *frame {
	if len(f.Fields) == 0 || !slices.ContainsFunc(f.Fields, func(f *field) bool { return f.Type == typeString }) {
		return f
	}
	at := slices.IndexFunc(f.Fields, func(f *field) bool { return f.Type == typeTime })
	if at < 0 {
		return f
	}
	times := &field{Name: f.Fields[at].Name, Type: typeTime, Config: map[string]any{}}
	out := &frame{RefID: f.RefID, Fields: []*field{times}}
	index, found := map[any]int{}, map[string]*field{}
	for n, moment := range f.Fields[at].Values {
		if _, known := index[moment]; !known {
			index[moment] = len(times.Values)
			times.Values = append(times.Values, moment)
		}
		labels := map[string]string{}
		for _, text := range f.Fields {
			if text.Type == typeString {
				labels[text.Name] = fmt.Sprint(text.Values[n])
			}
		}
		for _, number := range f.Fields {
			if number.Type != typeNumber {
				continue
			}
			key := fmt.Sprint(number.Name, labels)
			if found[key] == nil {
				found[key] = &field{Name: number.Name, Type: typeNumber, Labels: labels, Config: map[string]any{}}
				out.Fields = append(out.Fields, found[key])
			}
			for len(found[key].Values) < len(times.Values) {
				found[key].Values = append(found[key].Values, nil)
			}
			found[key].Values[index[moment]] = number.Values[n]
		}
	}
	for _, f := range out.Fields[1:] {
		for len(f.Values) < len(times.Values) {
			f.Values = append(f.Values, nil)
		}
	}
	return out
}

var legendLabel = regexp.MustCompile(`\{\{\s*(.+?)\s*\}\}`)

func (s *sources) askPrometheus(ctx context.Context, t *target, expr string, view standin.View) ([]*frame, error) {
	if s.prometheus == "" {
		return nil, errNoPrometheus
	}
	step := view.Interval.Seconds()
	question, path := url.Values{"query": {expr}}, "/api/v1/query_range"
	if t.Instant {
		path = "/api/v1/query"
		question.Set("time", fmt.Sprint(view.To.Unix()))
	} else {
		begin := view.From.Truncate(view.Interval)
		question.Set("start", fmt.Sprint(begin.Unix()))
		question.Set("end", fmt.Sprint(view.To.Unix()))
		question.Set("step", fmt.Sprint(step))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.prometheus+path+"?"+question.Encode(), nil)
	if err != nil {
		return nil, err
	}
	_, body, err := fetch(request)
	if err != nil {
		return nil, err
	}
	var answered struct {
		Error string
		Data  struct {
			ResultType string
			Result     []struct {
				Metric map[string]string
				Value  [2]any
				Values [][2]any
			}
		}
	}
	if err := json.Unmarshal(body, &answered); err != nil {
		return nil, fmt.Errorf("Prometheus answered no JSON: %w", err)
	}
	if answered.Error != "" {
		return nil, fmt.Errorf("Prometheus: %s", answered.Error)
	}
	var frames []*frame
	for _, series := range answered.Data.Result {
		times := &field{Name: "Time", Type: typeTime, Config: map[string]any{}}
		values := &field{Name: "Value", Type: typeNumber, Labels: series.Metric, Config: map[string]any{}}
		if t.LegendFormat != "" && t.LegendFormat != "__auto" {
			values.Config["displayNameFromDS"] = legendLabel.ReplaceAllStringFunc(t.LegendFormat, func(match string) string {
				return series.Metric[legendLabel.FindStringSubmatch(match)[1]]
			})
		}
		if t.Instant {
			series.Values = [][2]any{series.Value}
		}
		for _, point := range series.Values {
			number, err := strconv.ParseFloat(fmt.Sprint(point[1]), 64)
			times.Values = append(times.Values, point[0].(float64)*1000)
			if err != nil || number != number || number-number != 0 { // NaN and infinite ones have no place in JSON
				values.Values = append(values.Values, nil)
			} else {
				values.Values = append(values.Values, number)
			}
		}
		frames = append(frames, &frame{RefID: t.RefID, Fields: []*field{times, values}})
	}
	return frames, nil
}
