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
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// Options of the quick start.
type Options struct {
	State, Bin, Library, CollectorConfig, SensorID string
	Interval                                       time.Duration

	Metrics, GRPC, HTTP, Health, CollectorMetrics, ClickHouseTCP, ClickHouseHTTP string
}

// Environment variables by which another ClickHouse server is used. A DSN holds
// a password, so it is never taken from the command line.
const (
	envDSN      = "NETVIEW_CLICKHOUSE_DSN"
	envOwnerDSN = "NETVIEW_CLICKHOUSE_OWNER_DSN"
	envReadDSN  = "NETVIEW_CLICKHOUSE_READER_DSN"
)

// patience is how long a part may take to become ready, and to stop.
const (
	patience     = 90 * time.Second
	stopPatience = 10 * time.Second
)

// part is a running program of netview.
type part struct {
	name, log string
	command   *exec.Cmd
	done      chan struct{}
}

// Run starts everything, prints where to look and a line for each heartbeat, and
// stops everything when ctx ends.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	lock, err := prepare(&o)
	if err != nil {
		return err
	}
	defer lock.Close()
	var parts []*part
	// The last to start is the first to stop: the sensor may still deliver.
	defer func() {
		if errors.Is(err, context.Canceled) {
			err = nil // told to stop while something was still starting
		}
		for i := len(parts) - 1; i >= 0; i-- {
			err = errors.Join(err, parts[i].stop())
		}
		if ctx.Err() != nil && err == nil {
			fmt.Fprintln(out, "Stopped. The data is kept in", o.State)
		}
	}()
	start := func(name string, environment []string, arguments ...string) error {
		p, err := launch(&o, name, environment, arguments...)
		if err == nil {
			parts = append(parts, p)
		}
		return err
	}

	dsn, owner, reader := os.Getenv(envDSN), os.Getenv(envOwnerDSN), os.Getenv(envReadDSN)
	if reader == "" {
		reader = dsn
	}
	if dsn == "" {
		data := filepath.Join(o.State, "clickhouse")
		fmt.Fprintln(out, "Starting ClickHouse …")
		if err := start("netview-clickhouse", nil, "--library", o.Library, "--data", data, "--tcp-address", o.ClickHouseTCP, "--http-address", o.ClickHouseHTTP); err != nil {
			return err
		}
		reader = "clickhouse://" + engine.Reader + "@" + o.ClickHouseTCP
		// The files are from an earlier run, or come just after the ports open.
		if err := wait(ctx, parts, func() (err error) {
			if err = ping(ctx, reader); err != nil {
				return err
			}
			if dsn, err = readDSN(data, "writer"); err != nil {
				return err
			}
			owner, err = readDSN(data, "owner")
			return err
		}); err != nil {
			return err
		}
	}

	fmt.Fprintln(out, "Starting the collector …")
	_, metricsPort, err := net.SplitHostPort(o.CollectorMetrics)
	if err != nil {
		return fmt.Errorf("--collector-metrics-address %q: %w", o.CollectorMetrics, err)
	}
	if err := start("netview-collector", []string{
		envDSN + "=" + dsn, envOwnerDSN + "=" + owner, "NETVIEW_OTLP_GRPC_ENDPOINT=" + o.GRPC, "NETVIEW_OTLP_HTTP_ENDPOINT=" + o.HTTP,
		"NETVIEW_HEALTH_ENDPOINT=" + o.Health, "NETVIEW_COLLECTOR_METRICS_PORT=" + metricsPort,
	}, "--config", o.CollectorConfig); err != nil {
		return err
	}
	if err := wait(ctx, parts, func() error { return healthy(o.Health) }); err != nil {
		return err
	}

	fmt.Fprintln(out, "Starting the sensor …")
	if err := start("netview-sensor", nil, "--otlp.endpoint", "grpc://"+o.GRPC, "--sensor-id", o.SensorID,
		"--heartbeat.interval", o.Interval.String(), "--web.listen-address", o.Metrics); err != nil {
		return err
	}
	conn, err := clickhouse.Open(reader)
	if err != nil {
		return err
	}
	defer conn.Close()
	w := watcher{conn: conn, out: out, since: time.Now().Add(-time.Second)}
	if err := wait(ctx, parts, func() error { return w.next(ctx) }); err != nil {
		return err
	}
	o.announce(out, os.Getenv(envDSN) == "")
	w.print()
	return w.watch(ctx, parts)
}

// prepare makes the folders and refuses what would fail later with less clear words.
func prepare(o *Options) (lock *os.File, err error) {
	if o.Bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		o.Bin = filepath.Dir(self)
	}
	if err := os.MkdirAll(filepath.Join(o.State, "log"), 0o755); err != nil {
		return nil, fmt.Errorf("the state directory cannot be made: %w (give another one with --state)", err)
	}
	file := filepath.Join(o.State, "run.lock")
	lock, err = os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the state directory cannot be written: %w (give another one with --state)", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("netview runs already with the state in %s: stop it, or give another --state and other ports", o.State)
	}
	addresses := map[string]string{"--metrics-address": o.Metrics, "--grpc-address": o.GRPC, "--http-address": o.HTTP,
		"--health-address": o.Health, "--collector-metrics-address": o.CollectorMetrics}
	if os.Getenv(envDSN) == "" {
		addresses["--clickhouse-tcp-address"], addresses["--clickhouse-http-address"] = o.ClickHouseTCP, o.ClickHouseHTTP
	}
	for flag, address := range addresses {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			lock.Close()
			return nil, fmt.Errorf("%s is not free: %w (stop what has it, or choose another with %s)", address, err, flag)
		}
		listener.Close()
	}
	return lock, nil
}

func launch(o *Options, name string, environment []string, arguments ...string) (*part, error) {
	p := &part{name: name, log: filepath.Join(o.State, "log", name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	defer log.Close()
	p.command = exec.Command(filepath.Join(o.Bin, name), arguments...)
	p.command.Env = append(os.Environ(), environment...)
	p.command.Stdout, p.command.Stderr = log, log
	// A group of its own: Ctrl-C reaches this program alone, which stops the
	// parts in order. Should it be killed, they are told to end.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		// Pdeathsig follows the thread that started the part, so that thread
		// stays until the part has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		started <- err
		if err == nil {
			p.command.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w (build it with `make build`)", name, err)
	}
	return p, nil
}

func (p *part) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself (%v). The end of %s:\n%s", p.name, p.command.ProcessState, p.log, tail(p.log))
	default:
		return nil
	}
}

func (p *part) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
		return nil
	case <-time.After(stopPatience):
		_ = p.command.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not stop within %v and was killed: see %s", p.name, stopPatience, p.log)
	}
}

// tail is the last lines of a log.
func tail(file string) string {
	text, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// wait calls ready until it succeeds, a part ends, or patience does.
func wait(ctx context.Context, parts []*part, ready func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		for _, p := range parts {
			if err := p.ended(); err != nil {
				return err
			}
		}
		if time.Now().After(deadline) {
			last := parts[len(parts)-1]
			return fmt.Errorf("%s is not ready after %v: %w (see %s)", last.name, patience, err, last.log)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func ping(ctx context.Context, dsn string) error {
	conn, err := clickhouse.Open(dsn)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Ping(ctx)
}

func readDSN(data, user string) (string, error) {
	text, err := os.ReadFile(filepath.Join(data, "credentials", user+".dsn"))
	return strings.TrimSpace(string(text)), err
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

// watcher follows the heartbeats that ClickHouse has.
type watcher struct {
	conn  driver.Conn
	out   io.Writer
	since time.Time
	line  string
}

var errNone = errors.New("no complete heartbeat is stored yet")

// next finds a heartbeat newer than the last.
func (w *watcher) next(ctx context.Context) error {
	rows, err := w.conn.Query(ctx, `SELECT sensor_id, timestamp, connections, tcp_listeners, udp_listeners, namespaces, collect_secs,
		(SELECT uniqExact(session, sequence) FROM netview.snapshot_connections WHERE (sensor_id, timestamp) = (h.sensor_id, h.timestamp)) AS stored
		FROM netview.heartbeats AS h WHERE timestamp > ? ORDER BY timestamp DESC LIMIT 1`, w.since)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		return errors.Join(rows.Err(), errNone)
	}
	var sensor string
	var at time.Time
	var connections, tcp, udp, namespaces, stored uint64
	var took float64
	if err := rows.Scan(&sensor, &at, &connections, &tcp, &udp, &namespaces, &took, &stored); err != nil {
		return err
	}
	w.since = at
	w.line = fmt.Sprintf("%s  %s  connections %d (rows stored %d)  listeners tcp %d udp %d  namespaces %d  collected in %.0f ms",
		at.Local().Format("15:04:05"), sensor, connections, stored, tcp, udp, namespaces, took*1000)
	return nil
}

func (w *watcher) print() { fmt.Fprintln(w.out, w.line) }

// watch prints a line for each heartbeat until ctx ends or a part does.
func (w *watcher) watch(ctx context.Context, parts []*part) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
		for _, p := range parts {
			if err := p.ended(); err != nil {
				return err
			}
		}
		if w.next(ctx) == nil {
			w.print()
		}
	}
}

func (o *Options) announce(out io.Writer, embedded bool) {
	fmt.Fprintf(out, `
netview is running.
  metrics        http://%s/metrics
  OTLP           grpc://%s  http://%s
`, o.Metrics, o.GRPC, o.HTTP)
	if embedded {
		fmt.Fprintf(out, `  ClickHouse     native %[1]s  HTTP http://%[2]s  database netview  user netview_reader (no password)
  try            curl -u netview_reader: http://%[2]s --data-binary "SELECT state, local_address, local_port, remote_address, remote_port, binary, duration_secs FROM netview.connections(sensor_id = '', at = now64(3, 'UTC'), page = 1, page_size = 20) FORMAT PrettyCompactMonoBlock"
                 curl -u netview_reader: http://%[2]s --data-binary "SELECT transport, local_address, local_port, pid, binary FROM netview.snapshot_listeners WHERE timestamp = (SELECT max(timestamp) FROM netview.heartbeats) FORMAT PrettyCompactMonoBlock"
                 curl -u netview_reader: http://%[2]s --data-binary "SELECT * FROM netview.connections_pager(sensor_id = '', at = now64(3, 'UTC'), page = 1, page_size = 100) FORMAT Vertical"
`, o.ClickHouseTCP, o.ClickHouseHTTP)
	}
	fmt.Fprintf(out, "  logs           %s\nCtrl-C stops everything; the data stays.\n\n", filepath.Join(o.State, "log"))
}
