package standin

import (
	"context"
	"strings"
	"testing"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func TestMain(m *testing.M) { testch.Main(m) }

var (
	from = time.UnixMilli(1_800_000_000_123)
	to   = from.Add(time.Hour)
)

func view() View {
	return View{From: from, To: to, Interval: 30 * time.Second, Variables: map[string]Variable{
		"one":     {Values: []string{"web-1"}},
		"empty":   {Values: []string{""}},
		"hostile": {Values: []string{`\')) OR 1=1 -- $one $__toTime`}},
		"sensor":  {Values: []string{"web-1"}, Multi: true, IncludeAll: true, AllValue: "{}"},
		"two":     {Values: []string{"web-1", "d.b'2"}, Multi: true, IncludeAll: true},
		"fleet":   {Values: []string{All}, Multi: true, IncludeAll: true, AllValue: "{}"},
		"options": {Values: []string{All}, Multi: true, IncludeAll: true, Options: []string{"a", "b"}},
	}}
}

func TestVariablesInSQL(t *testing.T) {
	for given, want := range map[string]string{
		`$one ${one} [[one]] [[one:csv]]`: `web-1 web-1 web-1 web-1`,
		`price in '$'`:                    `price in '$'`,
		// Without a format a list has quotes and escapes nothing.
		`$sensor`:                                  `'web-1'`,
		`$two`:                                     `'web-1','d.b'2'`,
		`${one:percentencode}`:                     `web-1`,
		`${empty:percentencode}`:                   ``,
		`${sensor:percentencode}`:                  `%7Bweb-1%7D`,
		`${two:percentencode}`:                     `%7Bweb-1%2Cd.b%272%7D`,
		`${options:percentencode}`:                 `%7Ba%2Cb%7D`,
		`${fleet:percentencode}`:                   `%7B%7D`,
		`${hostile:percentencode}`:                 `%5C%27%29%29%20OR%201%3D1%20--%20%24one%20%24__toTime`,
		`${fleet:raw} $fleet`:                      `{} {}`,
		`${fleet:singlequote}`:                     `{}`,
		`${two:singlequote}`:                       `'web-1','d.b\'2'`,
		`${two:sqlstring}`:                         `'web-1','d.b''2'`,
		`${two:doublequote}`:                       `"web-1","d.b'2"`,
		`${two:regex}`:                             `(web-1|d\.b'2)`,
		`${two:pipe} ${two:csv}`:                   `web-1|d.b'2 web-1,d.b'2`,
		`${two:glob} ${sensor:glob}`:               `{web-1,d.b'2} web-1`,
		`${two:json} ${one:json}`:                  `["web-1","d.b'2"] "web-1"`,
		`${two:text} ${fleet:text}`:                `web-1 + d.b'2 All`,
		`${two:queryparam}`:                        `var-two=web-1&var-two=d.b%272`,
		`${fleet:queryparam}`:                      `var-fleet=%24__all`,
		`$__from $__to`:                            `1800000000123 1800003600123`,
		`$__interval $__interval_ms $__interval_s`: `30s 30000 30`,
	} {
		got, err := view().SQL(given)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", given, got, err, want)
		}
	}
}

func TestMacros(t *testing.T) {
	for given, want := range map[string]string{
		`WHERE $__timeFilter(timestamp)`:                                 `WHERE timestamp >= toDateTime(1800000000) AND timestamp <= toDateTime(1800003600)`,
		`WHERE $__timeFilter_ms(timestamp)`:                              `WHERE timestamp >= fromUnixTimestamp64Milli(1800000000123) AND timestamp <= fromUnixTimestamp64Milli(1800003600123)`,
		`$__timeInterval( timestamp ) AS t`:                              `toStartOfInterval(toDateTime(timestamp), INTERVAL 30 second) AS t`,
		`$__timeInterval_ms(min(x)) AS t`:                                `toStartOfInterval(toDateTime64(min(x), 3), INTERVAL 30000 millisecond) AS t`,
		`f(at = toTimeZone($__toTime_ms, 'UTC'), since = ($__fromTime))`: `f(at = toTimeZone(fromUnixTimestamp64Milli(1800003600123), 'UTC'), since = (toDateTime(1800000000)))`,
		`$__conditionalAll(sensor_id = f('a', (1)), $sensor) AND 2`:      `sensor_id = f('a', (1)) AND 2`,
		`$__conditionalAll(x IN (${two:singlequote}), ${two})`:           `x IN ('web-1','d.b\'2')`,
		`$__conditionalAll(x IN ($fleet), $fleet) AND 2`:                 `1=1 AND 2`,
		`$__conditionalAll(x = '$empty', $empty)`:                        `1=1`,
		`$__conditionalAll(a OR $__conditionalAll(b, $options), $one)`:   `a OR 1=1`,
		`'-- $__interval_s'`:                                             `'-- 30'`,
	} {
		got, err := view().SQL(given)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", given, got, err, want)
		}
	}
	short := view()
	short.Interval = 200 * time.Microsecond
	if got, err := short.SQL(`$__timeInterval(t) $__timeInterval_ms(t)`); err != nil || got != `toStartOfInterval(toDateTime(t), INTERVAL 1 second) toStartOfInterval(toDateTime64(t, 3), INTERVAL 1 millisecond)` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestPromQL(t *testing.T) {
	for given, want := range map[string]string{
		`rate(x{s=~"$two"}[$__rate_interval])`:             `rate(x{s=~"(web-1|d\\.b\\'2)"}[60s])`,
		`x{s=~"$sensor"}`:                                  `x{s=~"web-1"}`,
		`x{s=~"$options"}[$__range]`:                       `x{s=~"(a|b)"}[3600s]`,
		"x{s=~`${two:regex}`}":                             "x{s=~`(web-1|d\\.b'2)`}",
		`$one $__interval $__interval_ms`:                  `web-1 30s 30000`,
		`$__range_s $__range_ms $__rate_interval_ms $__to`: `3600 3600000 60000 1800003600123`,
	} {
		got, err := view().PromQL(given)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", given, got, err, want)
		}
	}
	wide := view()
	wide.Interval, wide.Scrape = 5*time.Minute, 30*time.Second
	wide.Variables["sensor"] = Variable{Values: []string{All}, Multi: true, IncludeAll: true, AllValue: ".*"}
	if got, err := wide.PromQL(`x{s=~"$sensor"}[$__rate_interval]`); err != nil || got != `x{s=~".*"}[330s]` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	for given, want := range map[string]string{
		`$nothing`:                                `no variable "nothing"`,
		`${one:lucene}`:                           `format "lucene"`,
		`${one.text}`:                             `fields of variables`,
		`${__from:date}`:                          `built-in`,
		`$__timeGroup(t)`:                         `$__timeGroup`,
		`$__timeFilter`:                           `column in parentheses`,
		`$__timeFilter()`:                         `takes one column`,
		`$__timeFilter(f(t)`:                      `takes one column`,
		`$__timeInterval(toTimeZone(t, 'UTC'))`:   `takes one column`,
		`t > $__fromTime_ms AND f(x)`:             `write ($__fromTime_ms)`,
		`$__conditionalAll(x, 'all')`:             `$name`,
		`$__conditionalAll(x)`:                    `condition and a variable`,
		`$__conditionalAll(x, $one`:               `balanced`,
		`$__conditionalAll(x, $nothing)`:          `no variable "nothing"`,
		`$__conditionalAll(match(x, '^$'), $one)`: `which the plugin changes`,
		"SELECT 1 -- from $__fromTime on":         `in the comment`,
		"SELECT 1 /* $__fromTime */":              `in the comment`,
	} {
		got, err := view().SQL(given)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v; want an error with %s", given, got, err, want)
		}
	}
	for _, given := range []string{`x[$__interval_s]`, `x[$__auto]`, `x{s=~"$nothing"}`} {
		if got, err := view().PromQL(given); err == nil {
			t.Errorf("%s: %s; want an error", given, got)
		}
	}
}

// Values that end a string where one lets them.
var hostile = []string{`\')) OR 1=1 -- `, `') OR ('1'='1`, `\`, `'`, `a,b`, `{}`, `%27`, `${one} $__toTime [[one]]`, "\x00\n\t", "ß✓🦀", `$__all `, `" OR 1=1`}

// What ClickHouse has of a hostile value is that value.
func TestHostileValues(t *testing.T) {
	ch := testch.Start(t)
	options, err := driver.ParseDSN(ch.DSN(engine.Reader))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := driver.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(sql string, values ...string) (got string, err error) {
		sql, err = Expand(sql, map[string][]string{"v": values}, from, to, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return got, conn.QueryRow(context.Background(), sql).Scan(&got)
	}
	for _, value := range hostile {
		if got, err := ask(`SELECT decodeURLComponent('${v:percentencode}')`, value); err != nil || got != value {
			t.Errorf("%q came as %q, %v", value, got, err)
		}
		if got, err := ask(`SELECT toString(count()) FROM numbers(3) WHERE $__conditionalAll(toString(number) IN
			(SELECT arrayJoin(splitByChar(',', trim(BOTH '{}' FROM decodeURLComponent('${v:percentencode}'))))), $v)`, value, "2"); err != nil || got != "1" {
			t.Errorf("%q and 2 of 0, 1, 2 found %s, %v", value, got, err)
		}
	}
	// The formats that Grafana recommends are not safe on ClickHouse.
	for _, format := range []string{"singlequote", "sqlstring"} {
		if got, err := ask(`SELECT toString(count()) FROM numbers(3) WHERE (toString(number) IN (${v:`+format+`}))`, `\')) OR 1=1 -- `); got != "3" {
			t.Errorf("%s: %s rows, %v; want all three", format, got, err)
		}
	}
}

func TestText(t *testing.T) {
	if got, err := view().Text(`$one of $fleet, ${two}`); err != nil || got != `web-1 of All, web-1 + d.b'2` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestInterval(t *testing.T) {
	for _, tt := range []struct {
		length time.Duration
		points int
		least  time.Duration
		want   time.Duration
	}{
		{time.Hour, 800, 0, 5 * time.Second},
		{time.Hour, 800, 15 * time.Second, 15 * time.Second},
		{24 * time.Hour, 800, 15 * time.Second, 2 * time.Minute},
		{time.Second, 800, 0, time.Millisecond},
		{100, 0, 0, time.Millisecond},
		{10 * 365 * 24 * time.Hour, 100, 0, 7 * 24 * time.Hour},
	} {
		if got := Interval(tt.length, tt.points, tt.least); got != tt.want {
			t.Errorf("%v over %d points, at least %v: %v, want %v", tt.length, tt.points, tt.least, got, tt.want)
		}
	}
}
