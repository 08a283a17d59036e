// Package quickstart runs netview's parts on one host and watches them.
package quickstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/cmd/netview/dsn"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// Options of the quick start.
type Options struct {
	State, Bin, Library, CollectorConfig, SensorID string
	Interval                                       time.Duration

	// Demo adds sensors that do not exist.
	Demo bool
	// Unconfined starts the embedded ClickHouse where the kernel has no Landlock.
	Unconfined bool
	// ClickHouseDSN names another ClickHouse server, without a password.
	ClickHouseDSN string
	// Database on that server.
	Database string

	Metrics, DemoMetrics, GRPC, HTTP, Health, CollectorMetrics, ClickHouseTCP, ClickHouseHTTP string
}

// DefaultState is the state directory, unless another is given.
const DefaultState = "var"

// ClickHouseData is the embedded engine's folder in a state directory.
func ClickHouseData(state string) string { return filepath.Join(state, "clickhouse") }

// embeddedDatabase is the one that the users of the embedded engine have rights to.
const embeddedDatabase = "netview"

// patience is how long a part may take to become ready, and to stop.
const (
	patience     = 90 * time.Second
	stopPatience = 10 * time.Second
)

// Run starts everything, prints where to look and a line for each heartbeat, and
// stops everything when ctx ends.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	server, err := findServer(o.ClickHouseDSN, o.Database)
	if err != nil {
		return err
	}
	lock, err := prepare(&o, server.embedded)
	if err != nil {
		return err
	}
	defer lock.Close()
	r := &run{options: o, server: server, out: out}
	defer func() {
		if errors.Is(err, context.Canceled) {
			err = nil // told to stop while something was still starting
		}
		err = errors.Join(err, r.stop())
		if ctx.Err() != nil && err == nil {
			fmt.Fprintln(out, "Stopped. The data is kept in", o.State)
		}
	}()
	if server.embedded {
		if err := r.startClickHouse(ctx); err != nil {
			return err
		}
	}
	conn, err := clickhouse.Open(r.server.reader)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := r.startCollector(ctx); err != nil {
		return err
	}
	w, err := newWatcher(ctx, conn, r.server.database)
	if err != nil {
		return fmt.Errorf("asking ClickHouse as the reader: %w", err)
	}
	beats, err := r.startSensor(ctx, w)
	if err != nil {
		return err
	}
	if o.Demo {
		if err := r.start("netview", nil, demoArguments(&o, time.Now())...); err != nil {
			return err
		}
	}
	r.announce()
	w.print(out, beats)
	return r.watch(ctx, w)
}

// run is what has been started.
type run struct {
	options Options
	server  server
	out     io.Writer
	parts   []*part
}

func (r *run) start(name string, environment []string, arguments ...string) error {
	fmt.Fprintf(r.out, "Starting %s …\n", name)
	p, err := launch(&r.options, name, environment, arguments...)
	if err == nil {
		r.parts = append(r.parts, p)
	}
	return err
}

// stop ends the parts. The last to start is the first to stop: the sensor may
// still deliver.
func (r *run) stop() (err error) {
	for _, p := range slices.Backward(r.parts) {
		err = errors.Join(err, p.stop())
	}
	return err
}

func (r *run) startClickHouse(ctx context.Context) error {
	o := &r.options
	data := ClickHouseData(o.State)
	arguments := []string{"--library", o.Library, "--data", data, "--tcp-address", o.ClickHouseTCP, "--http-address", o.ClickHouseHTTP}
	if o.Unconfined {
		arguments = append(arguments, "--unconfined")
	}
	if err := r.start("netview-clickhouse", nil, arguments...); err != nil {
		return err
	}
	// The files are from an earlier run, or come just after the ports open.
	return r.wait(ctx, func() (err error) {
		for user, into := range map[string]*string{engine.Reader: &r.server.reader, engine.Writer: &r.server.writer, engine.Owner: &r.server.owner} {
			if *into, err = dsn.FromFile(engine.DSNFile(data, user)); err != nil {
				return err
			}
			if err = ping(ctx, *into); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *run) startCollector(ctx context.Context) error {
	o := &r.options
	_, metricsPort, err := net.SplitHostPort(o.CollectorMetrics)
	if err != nil {
		return fmt.Errorf("--collector-metrics-address %q: %w", o.CollectorMetrics, err)
	}
	if err := r.start("netview-collector", []string{
		dsn.Writer + "=" + r.server.writer, dsn.Owner + "=" + r.server.owner, "NETVIEW_CLICKHOUSE_DATABASE=" + r.server.database,
		"NETVIEW_OTLP_GRPC_ENDPOINT=" + o.GRPC, "NETVIEW_OTLP_HTTP_ENDPOINT=" + o.HTTP,
		"NETVIEW_HEALTH_ENDPOINT=" + o.Health, "NETVIEW_COLLECTOR_METRICS_PORT=" + metricsPort,
	}, "--config", o.CollectorConfig); err != nil {
		return err
	}
	return r.wait(ctx, func() error { return healthy(o.Health) })
}

// startSensor returns the first heartbeat that ClickHouse has.
func (r *run) startSensor(ctx context.Context, w *watcher) (beats []beat, err error) {
	o := &r.options
	if err := r.start("netview-sensor", nil, "--otlp.endpoint", "grpc://"+o.GRPC, "--sensor-id", o.SensorID,
		"--heartbeat.interval", o.Interval.String(), "--web.listen-address", o.Metrics, "--spool.directory", filepath.Join(o.State, "spool")); err != nil {
		return nil, err
	}
	err = r.wait(ctx, func() error {
		beats, err = w.first(ctx)
		return err
	})
	for _, line := range r.parts[len(r.parts)-1].warnings() {
		fmt.Fprintln(r.out, "The sensor warns:", line)
	}
	return beats, err
}

// wait calls ready until it succeeds, a part ends, or patience does.
func (r *run) wait(ctx context.Context, ready func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if err := r.ended(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			last := r.parts[len(r.parts)-1]
			return fmt.Errorf("%s is not ready after %v: %w (see %s)", last.name, patience, err, last.log)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ended is the error of the first part that has ended by itself.
func (r *run) ended() error {
	for _, p := range r.parts {
		if err := p.ended(); err != nil {
			return err
		}
	}
	return nil
}

// watch prints a line for each heartbeat until ctx ends or a part does.
func (r *run) watch(ctx context.Context, w *watcher) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		if err := r.ended(); err != nil {
			return err
		}
		beats, err := w.next(ctx)
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(r.out, "ClickHouse does not answer:", err)
		}
		w.print(r.out, beats)
	}
}

// prepare makes the folders and refuses what would fail later with less clear words.
func prepare(o *Options, embedded bool) (lock *os.File, err error) {
	if o.Bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		o.Bin = filepath.Dir(self)
	}
	// The sensor's spool too: a sensor of root drops the right to make it in a
	// directory of another user.
	for name, mode := range map[string]os.FileMode{"log": 0o755, "spool": 0o700} {
		if err := os.MkdirAll(filepath.Join(o.State, name), mode); err != nil {
			return nil, fmt.Errorf("the state directory cannot be made: %w (give another one with --state)", err)
		}
	}
	file := filepath.Join(o.State, "run.lock")
	lock, err = os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the state directory cannot be written: %w (give another one with --state)", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("netview runs already with its state in %s: stop it, or give this one another --state and other ports", o.State)
	}
	addresses := [][2]string{{"--metrics-address", o.Metrics}, {"--grpc-address", o.GRPC}, {"--http-address", o.HTTP},
		{"--health-address", o.Health}, {"--collector-metrics-address", o.CollectorMetrics}}
	if embedded {
		addresses = append(addresses, [2]string{"--clickhouse-tcp-address", o.ClickHouseTCP}, [2]string{"--clickhouse-http-address", o.ClickHouseHTTP})
	}
	if o.Demo {
		addresses = append(addresses, [2]string{"--demo-metrics-address", o.DemoMetrics})
	}
	for _, a := range addresses {
		listener, err := net.Listen("tcp", a[1])
		if err != nil {
			lock.Close()
			return nil, fmt.Errorf("%s is not free: %w (stop what has it, or choose another with %s; with make: RUN_FLAGS=\"%[3]s HOST:PORT\")", a[1], err, a[0])
		}
		listener.Close()
	}
	return lock, nil
}

func ping(ctx context.Context, dsn string) error {
	conn, err := clickhouse.Open(dsn)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Ping(ctx)
}

func healthy(address string) error {
	client := http.Client{Timeout: 2 * time.Second}
	answer, err := client.Get("http://" + address + "/")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<12))
		return fmt.Errorf("health check: %s: %s", answer.Status, body)
	}
	return nil
}

// queryCommand asks the ClickHouse in use by `netview query`.
func (r *run) queryCommand() string {
	command := filepath.Join(r.options.Bin, "netview") + " query connections"
	if r.server.embedded && r.options.State != DefaultState {
		command += " --state " + r.options.State
	}
	if r.server.database != embeddedDatabase {
		command += " --database " + r.server.database
	}
	return command
}

func (r *run) announce() {
	o := &r.options
	fmt.Fprintf(r.out, `
netview is running.
  metrics        http://%s/metrics  of the collector http://%s/metrics
  OTLP           grpc://%s  http://%s/v1/logs
`, o.Metrics, o.CollectorMetrics, o.GRPC, o.HTTP)
	if o.Demo {
		fmt.Fprintf(r.out, "  generated      http://%s/metrics of %d sensors that do not exist; their records of the last hour are on their way\n", o.DemoMetrics, demoSensors)
	}
	queries := []string{
		"SELECT state, local_address, local_port, remote_address, remote_port, binary, duration_secs FROM %[1]s.connections(sensor_id = '', at = now64(3, 'UTC'), page = 1, page_size = 20)",
		"SELECT transport, local_address, local_port, pid, binary FROM %[1]s.snapshot_listeners FINAL WHERE (sensor_id, timestamp) IN (SELECT sensor_id, max(timestamp) FROM %[1]s.heartbeats GROUP BY sensor_id) ORDER BY local_port",
		"SELECT * FROM %[1]s.connections_pager(sensor_id = '', at = now64(3, 'UTC'), page = 1, page_size = 100)",
	}
	if r.server.embedded {
		fmt.Fprintf(r.out, "  ClickHouse     native %s  HTTP http://%s  database %s  user %s\n  passwords      %s, for you alone\n",
			o.ClickHouseTCP, o.ClickHouseHTTP, r.server.database, engine.Reader, engine.Credentials(ClickHouseData(o.State)))
	} else {
		fmt.Fprintf(r.out, "  ClickHouse     the server of %s, database %s\n", dsn.Writer, r.server.database)
	}
	fmt.Fprintf(r.out, "  dashboards     docs/dashboards.md, for Grafana and Prometheus\n  logs           %s\n  queries\n    %s\n", filepath.Join(o.State, "log"), r.queryCommand())
	for _, query := range queries {
		query = fmt.Sprintf(query, r.server.database)
		if r.server.embedded {
			query = fmt.Sprintf("curl --config %s http://%s/?default_format=PrettyCompactMonoBlock --data-binary \"%s\"", engine.CurlFile(ClickHouseData(o.State)), o.ClickHouseHTTP, query)
		}
		fmt.Fprintln(r.out, "   ", query)
	}
	fmt.Fprint(r.out, "Ctrl-C stops everything; the data stays.\n\n")
}
