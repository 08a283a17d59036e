package query

import (
	"fmt"
	"math"
	"net/netip"
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
		{parameter: "sensor_id", flag: "sensor-id", help: "A sensor, or several with commas between them (default: the whole fleet).", sql: passed(each(event.CheckSensorID))},
		{parameter: "at", flag: "at", help: "The time to look at: RFC 3339, as 2030-12-31T23:59:00Z, or how long ago, as 5m (default: now).", sql: at},
		{parameter: "since", flag: "since", help: "The time to look from, in the forms of --at.", standard: "1h", sql: at},
		{parameter: "until", flag: "until", help: "The time to look up to, in the forms of --at (default: now).", sql: at},
		{parameter: "page", flag: "page", help: "Page, from 1; one past the end gives the last.", standard: "1", sql: number(1, math.MaxInt32)},
		{parameter: "page_size", flag: "page-size", help: "Rows of a page, 1 to 500.", standard: "100", sql: number(1, 500)},
		{parameter: "after", flag: "after", help: "The cursor of the last row of the page before (default: the first page).", sql: passed(anything)},
		{parameter: "limit", flag: "limit", help: "The most rows, 1 to 500; 1 to 10000 where the view has --after.", standard: "100", sql: number(1, 10_000)},
		{parameter: "kind", flag: "kind", help: "A kind of event, or several with commas between them (default: all).", sql: passed(each(kind))},
		{parameter: "process", flag: "process", help: "Path of a program, the end of one, the name of a process or its pid.", sql: passed(anything)},
		{parameter: "address", flag: "address", help: "An address or a CIDR, of either end.", sql: passed(address)},
		{parameter: "port", flag: "port", help: "A port of either end; 0 is any.", standard: "0", sql: number(0, math.MaxUint16)},
		{parameter: "name", flag: "name", help: "A host name; names below it are found too.", sql: passed(anything)},
		{parameter: "final_state", flag: "final-state", help: "How flows ended, or several such states with commas between them (default: all).", sql: passed(each(finalState))},
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
func (as Arguments) call(view clickhouse.View) (sql string, parameters []any, err error) {
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
			parameters = append(parameters, chgo.Named(p.Name, text))
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

// passed is an argument that is passed on as it is, if check accepts it; empty is
// what a view takes for "all".
func passed(check func(value string) error) func(clickhouse.Parameter, string) (string, string, error) {
	return func(p clickhouse.Parameter, value string) (string, string, error) {
		if value == "" {
			return "''", "", nil
		}
		return bound(p), value, check(value)
	}
}

// each checks the parts of a list with commas.
func each(check func(part string) error) func(value string) error {
	return func(value string) error {
		for part := range strings.SplitSeq(value, ",") {
			if err := check(part); err != nil {
				return err
			}
		}
		return nil
	}
}

func anything(string) error { return nil }

func kind(name string) error {
	if kinds := clickhouse.EventKinds(); !slices.Contains(kinds, event.Kind(name)) {
		return fmt.Errorf("%q is no kind of event: there are %v", name, kinds)
	}
	return nil
}

func finalState(name string) error {
	if states := []string{event.FinalEstablished, event.FinalRefused, event.FinalHalfClosed, event.FinalStale}; !slices.Contains(states, name) {
		return fmt.Errorf("%q is no final state of a flow: there are %v", name, states)
	}
	return nil
}

func address(value string) error {
	_, err := netip.ParseAddr(value)
	if err != nil {
		_, err = netip.ParsePrefix(value)
	}
	if err != nil {
		return fmt.Errorf("%q is neither an address nor a CIDR: give one as 192.0.2.1 or 192.0.2.0/24", value)
	}
	return nil
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
