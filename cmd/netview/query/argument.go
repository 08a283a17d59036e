package query

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	chgo "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
)

// argument is a flag that fills a parameter of views.
type argument struct {
	parameter, flag, help, standard string
	// sql returns the expression for a value, and the text of a query parameter
	// of the same name where the expression needs one.
	sql func(p clickhouse.Parameter, value string) (expression, text string, err error)

	value string
	given bool // by the user
}

// Arguments are the flags of every parameter that a view may have.
type Arguments []*argument

// NewArguments makes the flags of a command.
func NewArguments(command *kingpin.CmdClause) Arguments {
	arguments := Arguments{
		{parameter: "sensor_id", flag: "sensor-id", help: "One sensor (default: the whole fleet).", sql: sensorID},
		{parameter: "at", flag: "at", help: "The time to look at: RFC 3339, as 2030-12-31T23:59:00Z, or how long ago, as 5m (default: now).", sql: at},
		{parameter: "since", flag: "since", help: "The time to look from, in the forms of --at.", standard: "1h", sql: at},
		{parameter: "page", flag: "page", help: "Page, from 1; one past the end gives the last.", standard: "1", sql: number(1, math.MaxInt32)},
		{parameter: "page_size", flag: "page-size", help: "Rows of a page, 1 to 500.", standard: "100", sql: number(1, 500)},
	}
	for _, a := range arguments {
		flag := command.Flag(a.flag, a.help).IsSetByUser(&a.given)
		if a.standard != "" {
			flag = flag.Default(a.standard)
		}
		flag.StringVar(&a.value)
	}
	return arguments
}

// call returns the arguments of a view as SQL, and the query parameters in it.
func (as Arguments) call(view clickhouse.View) (string, chgo.Parameters, error) {
	parameters := chgo.Parameters{}
	var list, flags []string
	for _, p := range view.Parameters {
		i := slices.IndexFunc(as, func(a *argument) bool { return a.parameter == p.Name })
		if i < 0 {
			return "", nil, fmt.Errorf("no flag fills the parameter %s of %s", p.Name, view.Name)
		}
		a := as[i]
		expression, text, err := a.sql(p, a.value)
		if err != nil {
			return "", nil, fmt.Errorf("--%s %w", a.flag, err)
		}
		if text != "" {
			parameters[p.Name] = text
		}
		list, flags = append(list, p.Name+" = "+expression), append(flags, "--"+a.flag)
	}
	for _, a := range as {
		if a.given && !slices.Contains(flags, "--"+a.flag) {
			return "", nil, fmt.Errorf("%s takes no --%s: it takes %s", view.Name, a.flag, strings.Join(flags, ", "))
		}
	}
	return strings.Join(list, ", "), parameters, nil
}

// bound is the expression for a parameter whose value travels beside the SQL.
func bound(p clickhouse.Parameter) string { return "{" + p.Name + ":" + p.Type + "}" }

func sensorID(p clickhouse.Parameter, value string) (string, string, error) {
	if value == "" {
		return "''", "", nil
	}
	return bound(p), value, event.CheckSensorID(value)
}

func number(least, most int64) func(clickhouse.Parameter, string) (string, string, error) {
	return func(p clickhouse.Parameter, value string) (string, string, error) {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < least || n > most {
			return "", "", fmt.Errorf("%q is out of range: give a whole number from %d to %d", value, least, most)
		}
		return bound(p), value, nil
	}
}

// at counts back from ClickHouse's time: that of this host may differ.
func at(p clickhouse.Parameter, value string) (string, string, error) {
	const now = "now64(3, 'UTC')"
	if value == "" {
		return now, "", nil
	}
	if ago, err := time.ParseDuration(strings.TrimPrefix(value, "-")); err == nil {
		return fmt.Sprintf("%s - toIntervalMillisecond(%d)", now, ago.Milliseconds()), "", nil
	}
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil || t.Year() < 1970 || t.Year() > 2199 {
		return "", "", fmt.Errorf("%q is no time: give one of RFC 3339, as 2030-12-31T23:59:00Z, or how long ago, as 5m", value)
	}
	return bound(p), t.UTC().Format("2006-01-02 15:04:05.000"), nil
}
