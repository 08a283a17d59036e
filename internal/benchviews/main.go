// Command benchviews times the views of the schema and the queries of the
// dashboards on a day of 200 sensors: `make bench-views` builds what it needs and
// runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// Ports of the engine, on loopback.
const (
	native   = "127.0.0.1:19901"
	httpPort = "127.0.0.1:18924"
)

func main() {
	app := kingpin.New("benchviews", "The views and the dashboards' queries on a day of a fleet.")
	library := app.Flag("library", "libchdb.so").Required().String()
	bin := app.Flag("bin", "Folder of netview's programs.").Default("bin").String()
	store := app.Flag("store", "Folder of the data, which is filled where it is empty and kept.").Required().String()
	fill := app.Flag("fill", "Fill the store first; --no-fill asks what an interrupted one has.").Default("true").Bool()
	sensors := app.Flag("sensors", "Sensors to fill it with.").Default("200").Int()
	hours := app.Flag("hours", "Hours to fill it with.").Default("24").Int()
	rounds := app.Flag("rounds", "How often each question is asked.").Default("20").Int()
	only := app.Flag("only", "Ask only what matches this regular expression.").Default("").Regexp()
	kingpin.MustParse(app.Parse(os.Args[1:]))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, engine.Options{Executable: *bin + "/netview-clickhouse", Library: *library, DataDir: *store, TCPAddress: native, HTTPAddress: httpPort, Log: os.Stderr}, *fill, *sensors, *hours, *rounds, *only); err != nil {
		fmt.Fprintln(os.Stderr, "benchviews:", err)
		stop()
		os.Exit(1)
	}
}

func say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", arguments...)
}

func run(ctx context.Context, options engine.Options, fill bool, sensors, hours, rounds int, only *regexp.Regexp) (err error) {
	if options.Executable, err = filepath.Abs(options.Executable); err != nil { // it is started in the store's folder
		return err
	}
	server, err := engine.Start(ctx, options)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = errors.Join(err, server.Stop(stopping))
	}()
	if err := applySchema(server); err != nil {
		return err
	}
	owner, err := clickhouse.Open(server.DSN(engine.Owner))
	if err != nil {
		return err
	}
	defer owner.Close()
	// From noon to noon: two partitions of a day, and 24 of an hour.
	noon := time.Now().UTC().Add(-12 * time.Hour).Truncate(24 * time.Hour).Add(12 * time.Hour)
	d := &day{conn: owner, sensors: sensors, hours: hours, begin: noon.Add(-time.Duration(hours) * time.Hour)}
	if fill {
		if err := d.fill(ctx); err != nil {
			return err
		}
	}
	return ask(ctx, server, rounds, only)
}

// ask everything, and print what it cost.
func ask(ctx context.Context, server *engine.Server, rounds int, only *regexp.Regexp) error {
	reader, err := clickhouse.Open(server.DSN(engine.Reader))
	if err != nil {
		return err
	}
	defer reader.Close()
	var sensor string // that has something to show in every view
	var to time.Time
	if err := reader.QueryRow(ctx, `SELECT (SELECT sensor_id FROM netview.events WHERE kind = 'dns_query' GROUP BY sensor_id ORDER BY count() DESC, sensor_id LIMIT 1), max(timestamp) FROM netview.heartbeats`).Scan(&sensor, &to); err != nil {
		return err
	}
	var tables []table
	for _, window := range []time.Duration{time.Hour, 24 * time.Hour} {
		panels, err := ofPanels(to.Add(-window), to, sensor)
		if err != nil {
			return err
		}
		tables = append(tables, table{fmt.Sprintf("The views, windows of %.0f h, times in ms:", window.Hours()), ofViews(to.Add(-window), to, sensor)},
			table{fmt.Sprintf("The dashboards, the last %.0f h, times in ms:", window.Hours()), panels})
	}
	answers := map[string]answer{}
	for _, t := range tables {
		t.questions = slices.DeleteFunc(t.questions, func(q question) bool {
			_, known := answers[q.fleet] // a moment is the same in every window
			return known || !only.MatchString(q.name)
		})
		for _, q := range t.questions {
			for _, query := range []string{q.one, q.fleet} {
				if query == "" {
					continue
				}
				if answers[query], err = measure(ctx, reader, server.PID(), query, rounds); err != nil {
					return fmt.Errorf("%s: %w", q.name, err)
				}
			}
			say("%s", q.name)
		}
		t.print(answers)
	}
	return nil
}

// applySchema brings the store to the newest schema and views.
func applySchema(server *engine.Server) error {
	const years = 10 * 365 * 24 * time.Hour // the store is kept
	ready := make(chan error, 1)
	store, err := clickhouse.Start(clickhouse.Options{DSN: server.DSN(engine.Writer), SchemaDSN: server.DSN(engine.Owner), Database: "netview", ApplySchema: true,
		Retention: clickhouse.Retention{Connections: years, Listeners: years, Flows: years, Heartbeats: years, Events: years, Gaps: years, Quarantine: years},
		MaxRows:   1, CommitTimeout: time.Minute,
		Ready: func(err error) {
			select {
			case ready <- err:
			default:
			}
		}, Warn: func(err error) { say("%v", err) }, Committed: func(int, time.Duration, error) {}})
	if err != nil {
		return err
	}
	defer store.Close()
	return <-ready
}
