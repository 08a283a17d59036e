// Command netview-sensor watches the sockets of this host: it shows them to
// Prometheus and sends them to an OpenTelemetry Collector.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/netview-project/netview/exporter"
	"github.com/netview-project/netview/sensor"
)

func main() {
	app := kingpin.New("netview-sensor", "Watches the sockets of this host for Prometheus and OpenTelemetry.")
	app.Version(version.Print("netview-sensor"))
	app.HelpFlag.Short('h')
	var config sensor.Config
	app.Flag("sensor-id", "Name of this sensor: 1 to 64 of a-z 0-9 . _ - (default: the host's name).").Envar("NETVIEW_SENSOR_ID").StringVar(&config.SensorID)
	app.Flag("otlp.endpoint", "Collector: grpc://HOST:4317 or http://HOST:4318. Empty sends nothing.").Envar("NETVIEW_OTLP_ENDPOINT").StringVar(&config.Endpoint)
	app.Flag("heartbeat.interval", "Time between two heartbeats, 1s to 5m.").Default("15s").DurationVar(&config.Interval)
	app.Flag("path.procfs", "Root of procfs.").Default("/proc").StringVar(&config.Proc)
	app.Flag("process.command-line", "Store command lines. They often hold secrets: see --process.scrub.").BoolVar(&config.CommandLine)
	app.Flag("process.scrub", "Regular expression; what it matches in a command line is replaced.").Default(`(?i)(?:password|passwd|token|secret|api[-_]?key)[=: ]\S+`).StringVar(&config.Scrub)
	app.Flag("queue.snapshots", "Snapshots kept in memory while the collector is away.").Default("40").IntVar(&config.MaxSnapshots)
	requests := app.Flag("web.max-requests", "Scrapes that are served at a time; 0 for any number.").Default("40").Int()
	path := app.Flag("web.telemetry-path", "Path of the metrics.").Default("/metrics").String()
	toolkit := kingpinflag.AddFlags(app, "127.0.0.1:9765")
	logging := &promslog.Config{}
	flag.AddFlags(app, logging)
	kingpin.MustParse(app.Parse(os.Args[1:]))
	config.Version = version.Version
	if config.Version == "" {
		config.Version = "unknown"
	}

	if err := run(config, toolkit, *path, *requests, logging); err != nil {
		fmt.Fprintln(os.Stderr, "netview-sensor:", err)
		os.Exit(1)
	}
}

func run(config sensor.Config, toolkit *web.FlagConfig, path string, requests int, logging *promslog.Config) error {
	log := promslog.New(logging)
	s, err := sensor.New(config, log)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		log.Warn("Not root: processes of other users have no name, and namespaces that only a mount holds are not read")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	registry := exporter.NewRegistry(s.Resource(), func() exporter.State { return exporter.State(s.State()) })
	mux := http.NewServeMux()
	mux.Handle(path, promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, Registry: registry, MaxRequestsInFlight: requests}))
	mux.HandleFunc("/-/healthy", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "The sensor runs.") })
	mux.HandleFunc("/-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(s.State(), config.Interval, time.Now()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "The sensor has a current heartbeat.")
	})
	if path != "/" {
		landing, err := web.NewLandingPage(web.LandingConfig{Name: "netview sensor " + s.Resource().SensorID,
			Description: "The sockets of this host", Version: version.Info(), Links: []web.LandingLinks{{Address: path, Text: "Metrics"}, {Address: "/-/ready", Text: "Ready"}, {Address: "/-/healthy", Text: "Healthy"}}})
		if err != nil {
			return err
		}
		mux.Handle("/", landing)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := web.ListenAndServe(server, toolkit, log); err != nil && !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("serving metrics: %w (is another sensor running? choose another --web.listen-address)", err))
		}
	}()
	err = s.Run(ctx)
	_ = server.Close()
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// ready says why the metrics cannot be relied on; nothing where they can.
func ready(state sensor.State, interval time.Duration, now time.Time) error {
	if state.Snapshot == nil {
		return errors.New("no heartbeat has been taken yet")
	}
	if age := now.Sub(state.Snapshot.Heartbeat.Timestamp); age > 3*interval {
		return fmt.Errorf("the newest heartbeat is %v old, one is due every %v: see the sensor's log", age.Round(time.Second), interval)
	}
	return nil
}
