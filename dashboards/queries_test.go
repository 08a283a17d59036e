package dashboards

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	chgo "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/netview-project/netview/dashboards/standin"
	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/fleet"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/internal/testevent"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func TestMain(m *testing.M) { testch.Main(m) }

// pick is the view with values for a variable.
func pick(v standin.View, name string, values ...string) standin.View {
	all := map[string]standin.Variable{}
	for n, variable := range v.Variables {
		if n == name {
			variable.Values = values
		}
		all[n] = variable
	}
	v.Variables = all
	return v
}

// asked is a query of a dashboard with what its frame must be.
type asked struct {
	dashboard *Dashboard
	name      string
	target    *Target
	// columns that have a look; nil where the query is of no table and no numbers.
	columns []string
	units   map[string]string
}

func clickhouseQueries() (queries []asked) {
	// What several dashboards have is asked for once.
	seen := map[string]bool{}
	defer func() {
		queries = slices.DeleteFunc(queries, func(q asked) bool {
			again := seen[q.target.RawSQL+q.name]
			seen[q.target.RawSQL+q.name] = true
			return again
		})
	}()
	for _, d := range All() {
		for _, v := range d.Templating.List {
			if t, is := v.Query.(*Target); is {
				queries = append(queries, asked{dashboard: d, name: "variable " + v.Name, target: t})
			}
		}
		for _, a := range d.Annotations.List {
			if a.Datasource == clickhouseSource {
				queries = append(queries, asked{dashboard: d, name: "annotation " + a.Name, target: a.Target, columns: []string{"time", "text", "tags"}})
			}
		}
		for _, p := range d.Panels {
			for _, t := range p.Targets {
				if t.RawSQL == "" {
					continue
				}
				q := asked{dashboard: d, name: p.Title, target: t, units: map[string]string{}}
				if p.Type == "table" || p.Type == "stat" {
					for _, o := range p.FieldConfig.Overrides {
						q.columns = append(q.columns, o.Matcher.Options)
						for _, property := range o.Properties {
							if property.ID == "unit" {
								q.units[o.Matcher.Options] = property.Value.(string)
							}
						}
					}
				}
				queries = append(queries, q)
			}
		}
	}
	return queries
}

// frame is the answer to a query.
type frame struct {
	columns, types []string
	rows           []string
	times          []time.Time // of the first column
}

func ask(conn driver.Conn, query string) (f frame, err error) {
	// What the plugin's user may do at most.
	ctx := chgo.Context(context.Background(), chgo.WithSettings(chgo.Settings{"max_execution_time": 60}))
	answer, err := conn.Query(ctx, query)
	if err != nil {
		return f, err
	}
	defer answer.Close()
	types := answer.ColumnTypes()
	for _, t := range types {
		f.columns, f.types = append(f.columns, t.Name()), append(f.types, t.DatabaseTypeName())
	}
	for answer.Next() {
		values := make([]any, len(types))
		for i, t := range types {
			values[i] = reflect.New(t.ScanType()).Interface()
		}
		if err := answer.Scan(values...); err != nil {
			return f, err
		}
		var row []string
		for i, value := range values {
			at := reflect.ValueOf(value).Elem()
			for at.Kind() == reflect.Pointer && !at.IsNil() {
				at = at.Elem()
			}
			if t, is := at.Interface().(time.Time); is && i == 0 {
				f.times = append(f.times, t)
			}
			row = append(row, fmt.Sprint(at.Interface()))
		}
		f.rows = append(f.rows, strings.Join(row, "\t"))
	}
	return f, answer.Err()
}

// check what a panel needs of a frame, whether or not it has rows: the plugin gives
// an answer "OK" for what cannot be drawn, too.
func (q asked) check(f frame) (wrong []string) {
	if q.columns != nil && !slices.Equal(f.columns, q.columns) {
		wrong = append(wrong, fmt.Sprintf("the columns are %v, want %v", f.columns, q.columns))
	}
	for i, column := range f.columns {
		kind := f.types[i]
		for _, wrapped := range []string{"LowCardinality(", "Nullable("} {
			if strings.HasPrefix(kind, wrapped) {
				kind = strings.TrimSuffix(strings.TrimPrefix(kind, wrapped), ")")
			}
		}
		numeric := strings.HasPrefix(kind, "UInt") || strings.HasPrefix(kind, "Int") || strings.HasPrefix(kind, "Float")
		known := numeric || kind == "String" || kind == "UUID" || strings.HasPrefix(kind, "DateTime")
		if !known {
			wrong = append(wrong, fmt.Sprintf("%s is %s, which no cell shows", column, f.types[i]))
		}
		if unit := q.units[column]; unit == moment || unit == exactMoment {
			if !strings.HasPrefix(kind, "DateTime") {
				wrong = append(wrong, fmt.Sprintf("%s is %s, and no time", column, f.types[i]))
			}
		} else if unit != "" && unit != plain && !numeric {
			wrong = append(wrong, fmt.Sprintf("%s is %s and has the unit %s", column, f.types[i], unit))
		}
		if q.target.QueryType == "timeseries" && i > 0 && !numeric {
			wrong = append(wrong, fmt.Sprintf("%s is %s, and no line", column, f.types[i]))
		}
	}
	if q.target.QueryType == "timeseries" || strings.HasPrefix(q.name, "annotation") {
		if !strings.HasPrefix(f.types[0], "DateTime") || f.columns[0] != "time" {
			wrong = append(wrong, fmt.Sprintf("the first column is %s %s, want a time", f.columns[0], f.types[0]))
		}
		if !slices.IsSortedFunc(f.times, time.Time.Compare) {
			wrong = append(wrong, "the times do not ascend")
		}
	}
	return wrong
}

// stored is a ClickHouse with the records of a fleet with stories, and of one sensor
// more with a record of every kind.
func stored(t *testing.T) (reader driver.Conn, from, to time.Time) {
	ch := testch.Start(t)
	ready := make(chan error, 1)
	store, err := clickhouse.Start(clickhouse.Options{DSN: ch.DSN(engine.Writer), SchemaDSN: ch.DSN(engine.Owner), Database: database, ApplySchema: true,
		Retention: clickhouse.DefaultRetention(), MaxRows: 100_000, CommitTimeout: 30 * time.Second,
		Ready: func(err error) { ready <- err }, Warn: func(err error) { t.Error(err) }, Committed: func(int, time.Duration, error) {}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	connect := func(user string) driver.Conn {
		conn, err := clickhouse.Open(ch.DSN(user))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	const beats = 120
	to = time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	from = to.Add(-time.Hour)
	f := fleet.Fleet{Seed: 38, Sensors: 12, Connections: 20, Short: 4, Start: to.Add(-beats * 15 * time.Second), Interval: 15 * time.Second, Stories: true}
	if err := f.Inside(t.Context(), connect(engine.Writer), database, 1, beats, func(int) {}); err != nil {
		t.Fatal(err)
	}
	var records []event.Event
	session, other := uuid.New(), uuid.New()
	for i, kind := range event.Kinds() {
		e := testevent.Filled(t, kind)
		*e.Env() = event.Envelope{Resource: event.Resource{SensorID: "host-1", Session: session, HostName: "host-1", Version: "1.2.3"}, Sequence: uint64(i + 1), Timestamp: to.Add(-20 * time.Second)}
		records = append(records, e)
	}
	// A clone: sessions of one sensor_id that overlap; and a sensor that fell silent.
	heartbeat := func(sensor string, session uuid.UUID, number uint64, age time.Duration) {
		h := testevent.Filled(t, event.KindHeartbeat).(*event.Heartbeat)
		h.Envelope = event.Envelope{Resource: event.Resource{SensorID: sensor, Session: session, HostName: "host of " + session.String()[:4], Version: "1.2.4"}, Sequence: 1000 + number, Timestamp: to.Add(-age)}
		h.Heartbeat = number
		records = append(records, h)
	}
	heartbeat("host-1", session, 2, 10*time.Second)
	heartbeat("host-1", other, 1, 15*time.Second)
	heartbeat("host-1", other, 2, 5*time.Second)
	heartbeat("silent", uuid.New(), 1, 3*time.Minute)
	// A host of GTP-U that lost one of two sockets.
	upf := uuid.New()
	gtpu := func(sequence, number uint64, age time.Duration) {
		records = append(records, &event.Listener{Envelope: event.Envelope{Resource: event.Resource{SensorID: "upf", Session: upf}, Sequence: sequence, Timestamp: to.Add(-age)},
			Heartbeat: number, Transport: "udp", Family: "ipv4", LocalAddress: netip.IPv4Unspecified(), LocalPort: 2152})
	}
	gtpu(1, 1, 10*time.Minute)
	gtpu(2, 1, 10*time.Minute)
	heartbeat("upf", upf, 1, 10*time.Minute)
	gtpu(3, 2, 10*time.Second)
	heartbeat("upf", upf, 2, 10*time.Second)
	if err := store.Commit(t.Context(), func(b *clickhouse.Batch) {
		for _, e := range records {
			b.Add(e)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return connect(engine.Reader), from, to
}

// hostile values end a string, a list or a statement where one lets them.
var hostile = []string{`\')) OR 1=1 -- `, `{a}' OR '1'='1`, "$sensor ${sensor:raw} $__toTime %27 \x00"}

// TestQueries asks everything that the dashboards ask of ClickHouse, as Grafana would:
// of all sensors, one, several and none, where there is data and where there is not.
func TestQueries(t *testing.T) {
	reader, from, to := stored(t)
	sensors, err := ask(reader, "SELECT DISTINCT sensor_id FROM netview.heartbeats WHERE startsWith(sensor_id, 'generated') ORDER BY sensor_id")
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range clickhouseQueries() {
		if q.name == "Telecom ports by sensor" {
			query, err := pick(q.dashboard.Opened(from, to), "sensor", "upf").SQL(q.target.RawSQL)
			if err != nil {
				t.Fatal(err)
			}
			if f, err := ask(reader, query); err != nil || !slices.Equal(f.rows, []string{"upf\t2152\t1 of 2"}) {
				t.Errorf("%s: %q, %v, want that one of two sockets is left", q.name, f.rows, err)
			}
		}
		t.Run(q.dashboard.UID+"/"+q.name, func(t *testing.T) {
			data := q.dashboard.Opened(from, to)
			empty := q.dashboard.Opened(from.AddDate(-1, 0, 0), to.AddDate(-1, 0, 0))
			get := func(what string, v standin.View) frame {
				t.Helper()
				query, err := v.SQL(q.target.RawSQL)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				f, err := ask(reader, query)
				if err != nil {
					t.Fatalf("%s: %v\n%s", what, err, query)
				}
				for _, wrong := range q.check(f) {
					t.Errorf("%s: %s\n%s", what, wrong, query)
				}
				return f
			}
			for name, v := range map[string]standin.View{"data": data, "empty": empty} {
				all := get("all, "+name, v)
				for who, picked := range map[string][]string{"one": {"host-1"}, "several": sensors.rows[:3]} {
					some := get(who+", "+name, pick(v, "sensor", picked...))
					if name == "data" && len(some.rows) > len(all.rows) && q.target.QueryType != "timeseries" && !strings.Contains(q.target.RawSQL, "GROUP BY") {
						t.Errorf("%d rows for %s, %d for all", len(some.rows), who, len(all.rows))
					}
				}
				if name == "data" && len(all.rows) == 0 {
					t.Errorf("no rows where there is data")
				}
				// What is always there, as a pager, says so about nothing, too.
				if always := strings.Contains(q.target.RawSQL, "connections_pager") || strings.HasPrefix(q.name, "Telecom ports (UDP)"); name == "empty" && (len(all.rows) > 0) != always {
					t.Errorf("%d rows where there is no data", len(all.rows))
				}
			}
			for _, variable := range q.dashboard.Templating.List {
				if !strings.Contains(q.target.RawSQL, "${"+variable.Name+":") {
					continue
				}
				nothing := map[string]string{"address": "198.51.100.254", "port": "9", "page": "1", "page_size": "100"}[variable.Name]
				if nothing == "" {
					nothing = "nothing-has-this"
				}
				want := get("nothing", pick(data, variable.Name, nothing))
				get(variable.Name+" hostile, empty", pick(empty, variable.Name, hostile[0]))
				for i, value := range hostile {
					got := get(fmt.Sprintf("%s %q", variable.Name, value), pick(data, variable.Name, value))
					if !slices.Equal(got.rows, want.rows) {
						t.Errorf("%s %q: %d rows, want the %d of a value that nothing has\n%.300q", variable.Name, value, len(got.rows), len(want.rows), got.rows)
					}
					if variable.Multi && i == 0 {
						got = get(fmt.Sprintf("%s %q beside another", variable.Name, value), pick(data, variable.Name, nothing, value))
						if !slices.Equal(got.rows, want.rows) {
							t.Errorf("%s %q beside another: %d rows, want %d", variable.Name, value, len(got.rows), len(want.rows))
						}
					}
				}
			}
		})
	}
}
