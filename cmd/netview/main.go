// Command netview runs the quick start: ClickHouse, a collector and a sensor on
// this host, with a line per heartbeat that comes from ClickHouse.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"

	generator "github.com/netview-project/netview/cmd/netview/generate"
	"github.com/netview-project/netview/cmd/netview/query"
	"github.com/netview-project/netview/cmd/netview/quickstart"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func main() {
	app := kingpin.New("netview", "The network view of a fleet of Linux hosts.")
	app.Version(version.Print("netview"))
	app.HelpFlag.Short('h')

	run := app.Command("run", "Run ClickHouse, a collector and a sensor on this host.")
	var options quickstart.Options
	run.Flag("state", "Directory of data, logs and credentials.").Default(quickstart.DefaultState).StringVar(&options.State)
	run.Flag("bin", "Directory of netview's programs (default: that of this one).").StringVar(&options.Bin)
	run.Flag("library", "Path of the ClickHouse engine, libchdb.so.").Default(filepath.Join("var/npm", engine.LibraryPath)).StringVar(&options.Library)
	run.Flag("collector-config", "Configuration of the collector.").Default("deploy/collector.yaml").StringVar(&options.CollectorConfig)
	run.Flag("clickhouse-dsn", "Another ClickHouse server, as clickhouse://USER@HOST:9000; a DSN with a password is taken from NETVIEW_CLICKHOUSE_DSN or the file that NETVIEW_CLICKHOUSE_DSN_FILE names.").StringVar(&options.ClickHouseDSN)
	run.Flag("database", "Database on another ClickHouse server.").Envar("NETVIEW_CLICKHOUSE_DATABASE").Default("netview").StringVar(&options.Database)
	run.Flag("demo", "Also make the records of 24 sensors that do not exist, an hour back and from now on: see docs/generate.md.").BoolVar(&options.Demo)
	run.Flag("unconfined", "Start the embedded ClickHouse where the kernel has no Landlock: see docs/clickhouse.md.").BoolVar(&options.Unconfined)
	run.Flag("sensor-id", "Name of the sensor (default: the host's name).").Envar("NETVIEW_SENSOR_ID").StringVar(&options.SensorID)
	run.Flag("interval", "Time between two heartbeats.").Default("15s").DurationVar(&options.Interval)
	run.Flag("metrics-address", "The sensor's metrics.").Default("127.0.0.1:9765").StringVar(&options.Metrics)
	run.Flag("demo-metrics-address", "The metrics of the sensors of --demo.").Default("127.0.0.1:9766").StringVar(&options.DemoMetrics)
	run.Flag("grpc-address", "OTLP/gRPC.").Default("127.0.0.1:4317").StringVar(&options.GRPC)
	run.Flag("http-address", "OTLP/HTTP.").Default("127.0.0.1:4318").StringVar(&options.HTTP)
	run.Flag("health-address", "The collector's health check.").Default("127.0.0.1:13133").StringVar(&options.Health)
	run.Flag("collector-metrics-address", "The collector's own metrics.").Default("127.0.0.1:8888").StringVar(&options.CollectorMetrics)
	run.Flag("clickhouse-tcp-address", "ClickHouse, native protocol.").Default("127.0.0.1:19000").StringVar(&options.ClickHouseTCP)
	run.Flag("clickhouse-http-address", "ClickHouse, HTTP protocol.").Default("127.0.0.1:18123").StringVar(&options.ClickHouseHTTP)

	ask := app.Command("query", "Ask ClickHouse through a view of the schema, such as connections; without a view, list them.")
	var question query.Options
	ask.Arg("view", "View to ask.").HintAction(query.Names).StringVar(&question.View)
	question.Arguments = query.NewArguments(ask)
	ask.Flag("format", "Form of the answer: table, json or csv.").Default("table").EnumVar(&question.Format, query.Formats...)
	ask.Flag("column", "A column to print, given again for each; all prints every one (default: those that suit the form).").StringsVar(&question.Columns)
	ask.Flag("clickhouse-dsn", "ClickHouse server, as clickhouse://USER@HOST:9000; a DSN with a password is taken from NETVIEW_CLICKHOUSE_READER_DSN or the file that NETVIEW_CLICKHOUSE_READER_DSN_FILE names (default: that of `netview run`).").StringVar(&question.DSN)
	ask.Flag("state", "Directory of that `netview run`, which holds the password for it.").Default(quickstart.DefaultState).StringVar(&question.State)
	ask.Flag("database", "Database on that server.").Envar("NETVIEW_CLICKHOUSE_DATABASE").Default("netview").StringVar(&question.Database)
	ask.Flag("timeout", "How long to wait for the answer.").Default("1m").DurationVar(&question.Timeout)

	generate := app.Command("generate", "Fill a store with the records of sensors that do not exist: see docs/generate.md.")
	var fleet generator.Options
	generate.Flag("seed", "What the fleet follows from: the same seed, start and flags make the same records.").Default("1").Uint64Var(&fleet.Fleet.Seed)
	generate.Flag("sensors", "Number of sensors, 1 to 2000.").Default("20").IntVar(&fleet.Fleet.Sensors)
	generate.Flag("connections", "Connections of a sensor in a snapshot, on average.").Default("100").IntVar(&fleet.Fleet.Connections)
	generate.Flag("short", "Connections of a sensor between two heartbeats, on average: each makes one event or two.").Default("20").IntVar(&fleet.Fleet.Short)
	generate.Flag("stories", "Let something happen to some of the hosts now and then: a port scan, a crowd, resolvers that are down, a UPF without GTP-U.").BoolVar(&fleet.Fleet.Stories)
	generate.Flag("interval", "Time between two heartbeats of a sensor.").Default("15s").DurationVar(&fleet.Fleet.Interval)
	generate.Flag("start", "Start of the sessions, like 2026-11-24T10:30:00Z (default: so that the last heartbeat is now).").StringVar(&fleet.Start)
	generate.Flag("from", "Number of the first heartbeat: above 1 it goes on with a fleet that is there.").Default("1").Uint64Var(&fleet.First)
	generate.Flag("heartbeats", "Number of the last heartbeat (default: 240, an hour; in real time no end).").Uint64Var(&fleet.Last)
	generate.Flag("real-time", "Send each heartbeat at its time, not as fast as they are taken.").BoolVar(&fleet.RealTime)
	generate.Flag("endpoint", "Where to send: grpc://HOST:4317 or http://HOST:4318, grpcs or https over TLS.").Default("grpc://127.0.0.1:4317").StringVar(&fleet.Endpoint)
	generate.Flag("ca-file", "Authorities of a grpcs or https endpoint's certificate, in PEM (default: those of the host).").StringVar(&fleet.Security.CAFile)
	generate.Flag("cert-file", "Certificate of a relay that may speak for these sensors.").StringVar(&fleet.Security.CertFile)
	generate.Flag("key-file", "Key of that certificate.").StringVar(&fleet.Security.KeyFile)
	generate.Flag("metrics-address", "Show Prometheus the metrics of all sensors from now on, as http://HOST:PORT/metrics (default: nowhere).").StringVar(&fleet.Metrics)
	generate.Flag("in-flight", "Heartbeats on their way at once.").Default("1000").IntVar(&fleet.InFlight)
	generate.Flag("request-timeout", "How long to wait for one answer.").Default("30s").DurationVar(&fleet.RequestTimeout)
	generate.Flag("inside", "Make the same rows by INSERT SELECT inside of ClickHouse, as the user of NETVIEW_CLICKHOUSE_DSN or the file that NETVIEW_CLICKHOUSE_DSN_FILE names.").BoolVar(&fleet.Inside)
	generate.Flag("clickhouse-dsn", "ClickHouse server for --inside, without a password.").StringVar(&fleet.DSN)
	generate.Flag("database", "Database on that server.").Envar("NETVIEW_CLICKHOUSE_DATABASE").Default("netview").StringVar(&fleet.Database)

	schema := app.Command("schema", "Print the SQL that makes the tables and views.")
	database := schema.Flag("database", "Name of the database.").Default("netview").String()

	switch kingpin.MustParse(app.Parse(os.Args[1:])) {
	case run.FullCommand():
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		exit(quickstart.Run(ctx, options, os.Stdout))
	case ask.FullCommand():
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		exit(query.Run(ctx, question, os.Stdout))
	case generate.FullCommand():
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		exit(generator.Run(ctx, fleet, os.Stdout))
	case schema.FullCommand():
		sql, err := clickhouse.SQL(*database, clickhouse.DefaultRetention())
		fmt.Print(sql)
		exit(err)
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "netview:", err)
		os.Exit(1)
	}
}
