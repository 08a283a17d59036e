// Command netview-sensor watches the sockets of this host: it shows them to
// Prometheus and sends them to an OpenTelemetry Collector.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/netview-project/netview/sensor"
	"github.com/netview-project/netview/sensor/deliver"
)

func main() {
	app := kingpin.New("netview-sensor", "Watches the sockets of this host for Prometheus and OpenTelemetry.")
	app.Version(version.Print("netview-sensor"))
	app.HelpFlag.Short('h')
	var config sensor.Config
	app.Flag("sensor-id", "Name of this sensor: 1 to 64 of a-z 0-9 . _ - (default: the host's name).").Envar("NETVIEW_SENSOR_ID").StringVar(&config.SensorID)
	app.Flag("otlp.endpoint", "Collector: grpc://HOST:4317 or http://HOST:4318; grpcs:// or https:// over TLS. Empty sends nothing.").Envar("NETVIEW_OTLP_ENDPOINT").StringVar(&config.Endpoint)
	security := func(name, variable, help string, value *string) {
		app.Flag(name, help).Envar(variable).StringVar(value)
	}
	security("otlp.ca-file", "NETVIEW_OTLP_CA_FILE", "Authorities of the collector's certificate, in PEM (default: those of the host). This and the files below are read anew for each connection.", &config.Security.CAFile)
	security("otlp.cert-file", "NETVIEW_OTLP_CERT_FILE", "Certificate that shows the collector which sensor this is: docs/security.md.", &config.Security.CertFile)
	security("otlp.key-file", "NETVIEW_OTLP_KEY_FILE", "Key of that certificate.", &config.Security.KeyFile)
	security("otlp.server-name", "NETVIEW_OTLP_SERVER_NAME", "Name that the collector's certificate has to be for (default: the endpoint's host).", &config.Security.ServerName)
	security("otlp.token-file", "NETVIEW_OTLP_TOKEN_FILE", "File with a bearer token, for a collector that asks for one.", &config.Security.TokenFile)
	app.Flag("ebpf", "Ask the kernel, by eBPF, for what happens between two heartbeats.").Default("true").BoolVar(&config.EBPF)
	app.Flag("dns.lookups", "Watch calls of getaddrinfo, by probes in the libcs of all processes; with --ebpf.").Default("true").BoolVar(&config.Lookups)
	app.Flag("path.procfs", "Root of procfs.").Default("/proc").StringVar(&config.Proc)
	logging := &promslog.Config{}
	flag.AddFlags(app, logging)

	run := app.Command("run", "Watch until SIGTERM.").Default()
	run.Flag("heartbeat.interval", "Time between two heartbeats, 1s to 5m.").Default("15s").DurationVar(&config.Interval)
	run.Flag("drop-capabilities", "Drop the capabilities that are not needed any more once all is opened and attached.").Default("true").BoolVar(&config.DropCapabilities)
	run.Flag("process.command-line", "Store command lines. They often hold secrets: see --process.scrub.").BoolVar(&config.CommandLine)
	run.Flag("process.scrub", "Regular expression; what it matches in a command line is replaced.").Default(`(?i)(?:password|passwd|token|secret|api[-_]?key)[=: ]\S+`).StringVar(&config.Scrub)
	spool := deliver.DefaultOptions()
	run.Flag("spool.directory", "Where records are kept until the collector acknowledges them. Empty keeps them in memory only.").
		Default("/var/lib/netview/spool").Envar("NETVIEW_SPOOL_DIRECTORY").StringVar(&spool.Dir)
	size := func(name, help string, value *int64) {
		run.Flag(name, help).Default(units.Base2Bytes(*value).String()).BytesVar((*units.Base2Bytes)(value))
	}
	age := func(name, help string, value *time.Duration) {
		run.Flag(name, help).Default(value.String()).DurationVar(value)
	}
	size("spool.events-size", "Most that waiting events may take; beyond it the oldest go.", &spool.EventsBytes)
	age("spool.events-age", "How long events may wait.", &spool.EventsAge)
	size("spool.snapshots-size", "Most that waiting snapshots may take; beyond it the oldest go.", &spool.SnapshotsBytes)
	age("spool.snapshots-age", "How long snapshots may wait.", &spool.SnapshotsAge)
	size("spool.memory", "Most memory for either, while the disk takes nothing.", &spool.MemoryBytes)
	age("spool.sync-interval", "What was appended is synced to the disk after this time, 10ms to 1m: what a power cut may cost.", &spool.SyncInterval)
	size("spool.sync-size", "It is synced sooner where it is as much as this.", &spool.SyncBytes)
	var options webOptions
	run.Flag("web.max-requests", "Scrapes that are served at a time; 0 for any number.").Default("40").IntVar(&options.maxRequests)
	run.Flag("web.telemetry-path", "Path of the metrics.").Default("/metrics").StringVar(&options.path)
	options.toolkit = kingpinflag.AddFlags(run, "127.0.0.1:9765")

	check := app.Command("check", "Say what this host gives to a sensor, and how to get the rest. Fails where a required feature is off.")
	required := check.Flag("require", "A feature without which it fails; give it again for each.").Default("socket_tables").Strings()
	format := check.Flag("format", "Form of the answer.").Default("table").Enum("table", "json")

	command := kingpin.MustParse(app.Parse(os.Args[1:]))
	config.Spool = spool
	config.Version = version.Version
	if config.Version == "" {
		config.Version = "unknown"
	}
	// A guest on its host: memory counts more than the little CPU that it takes.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch command {
	case run.FullCommand():
		err = watch(ctx, config, options, promslog.New(logging))
	case check.FullCommand():
		// Its table says what the log would.
		err = report(ctx, os.Stdout, config, *required, *format)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "netview-sensor:", err)
		os.Exit(1)
	}
}

func watch(ctx context.Context, config sensor.Config, options webOptions, log *slog.Logger) error {
	if err := options.check(); err != nil {
		return err
	}
	s, err := sensor.New(config, log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	server, err := newServer(s, config.Interval, options)
	if err != nil {
		return err
	}
	go func() { cancel(server.serve(log)) }()
	// The sensor drops the right to a port below 1024.
	select {
	case <-server.listening:
		err = s.Run(ctx)
	case <-ctx.Done():
	}
	server.close()
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}
