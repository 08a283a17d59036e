package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/exporter"
	"github.com/netview-project/netview/sensor"
)

// Paths beside that of the metrics.
const (
	healthyPath = "/-/healthy"
	readyPath   = "/-/ready"
)

// webOptions are the flags that begin with web.
type webOptions struct {
	path        string
	maxRequests int
	toolkit     *web.FlagConfig
}

func (o *webOptions) check() error {
	if !strings.HasPrefix(o.path, "/") || strings.ContainsAny(o.path, "{} ") || o.path == healthyPath || o.path == readyPath {
		return fmt.Errorf("--web.telemetry-path %q is not valid: give a path such as /metrics that is not one of the health endpoints", o.path)
	}
	if o.maxRequests < 0 {
		return fmt.Errorf("--web.max-requests %d is out of range: 0 for any number, or more", o.maxRequests)
	}
	if err := web.Validate(*o.toolkit.WebConfigFile); err != nil {
		return fmt.Errorf("--web.config.file %s: %w", *o.toolkit.WebConfigFile, err)
	}
	return nil
}

// server shows the sensor to Prometheus and to probes.
type server struct {
	http    *http.Server
	toolkit *web.FlagConfig
	// listening is closed once it listens on all addresses.
	listening chan struct{}
}

func newServer(s *sensor.Sensor, interval time.Duration, options webOptions) (*server, error) {
	registry := exporter.NewRegistry(s.Resource(), s.State)
	mux := http.NewServeMux()
	mux.Handle(options.path, promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, Registry: registry, MaxRequestsInFlight: options.maxRequests}))
	mux.HandleFunc(healthyPath, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "The sensor runs.") })
	mux.HandleFunc(readyPath, func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(s.State(), interval, time.Now()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "The sensor has a current heartbeat.")
	})
	if options.path != "/" {
		landing, err := web.NewLandingPage(web.LandingConfig{Name: "netview sensor " + s.Resource().SensorID,
			Description: "The sockets of this host", Version: version.Info(), Profiling: "false",
			Links: []web.LandingLinks{{Address: options.path, Text: "Metrics"}, {Address: readyPath, Text: "Ready"}, {Address: healthyPath, Text: "Healthy"}}})
		if err != nil {
			return nil, err
		}
		mux.Handle("/", landing)
	}
	listening := make(chan struct{})
	listens := sync.OnceFunc(func() { close(listening) })
	// The toolkit opens all listeners before it serves the first, which asks this.
	context := func(net.Listener) context.Context { listens(); return context.Background() }
	return &server{&http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: context}, options.toolkit, listening}, nil
}

// serve returns why it ended; nothing after close.
func (s *server) serve(log *slog.Logger) error {
	err := web.ListenAndServe(s.http, s.toolkit, log)
	switch {
	case errors.Is(err, http.ErrServerClosed):
		return nil
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("serving metrics: %w: a port below 1024 takes CAP_NET_BIND_SERVICE (docs/rights.md), another --web.listen-address does not", err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("serving metrics: %w: is another sensor running? Choose another --web.listen-address", err)
	}
	return fmt.Errorf("serving metrics: %w", err)
}

func (s *server) close() { _ = s.http.Close() }

// ready says why the metrics cannot be relied on; nothing where they can.
func ready(state event.State, interval time.Duration, now time.Time) error {
	if state.Snapshot == nil {
		return errors.New("no heartbeat has been taken yet")
	}
	if age := now.Sub(state.Snapshot.Heartbeat.Timestamp); age > 3*interval {
		return fmt.Errorf("the newest heartbeat is %v old, one is due every %v: see the sensor's log", age.Round(time.Second), interval)
	}
	return nil
}
