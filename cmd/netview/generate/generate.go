// Package generate fills a store with the records of sensors that do not exist:
// `netview generate`.
package generate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/netview-project/netview/cmd/netview/dsn"
	"github.com/netview-project/netview/internal/fleet"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/sensor/deliver"
)

// Options of the generator.
type Options struct {
	// Fleet but for its start.
	Fleet fleet.Fleet
	// Start of the sessions in RFC 3339; empty is so that the last heartbeat is
	// now, or in real time that the first one comes next.
	Start string
	// First and Last heartbeat. Last is 0 for the default, or in real time for no end.
	First, Last uint64
	RealTime    bool

	Endpoint       string
	Security       deliver.Security
	InFlight       int
	RequestTimeout time.Duration
	// Metrics is the address that shows those of the sensors; empty for none.
	Metrics string

	// Inside makes the rows inside of ClickHouse.
	Inside        bool
	DSN, Database string
}

// defaultHeartbeats are an hour at the default interval.
const defaultHeartbeats = 240

// connections to the receiver: those of 2,000 sensors would be as many, but a
// hundred requests fit into one.
const connections = 16

// reportEvery is the time between two lines of progress.
const reportEvery = 5 * time.Second

// Run makes the records and says what it does.
func Run(ctx context.Context, o Options, out io.Writer) error {
	if o.Last == 0 && !o.RealTime {
		o.Last = max(o.First, defaultHeartbeats)
	}
	if err := o.check(); err != nil {
		return err
	}
	if err := o.begin(time.Now()); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d sensors, seed %d: --start %s tells this fleet from others of the same seed.\n", o.Fleet.Sensors, o.Fleet.Seed, o.Fleet.Start.Format(time.RFC3339))
	began := time.Now()
	var err error
	if o.Inside {
		err = o.inside(ctx, out)
	} else {
		err = o.send(ctx, out)
	}
	if err == nil {
		fmt.Fprintf(out, "Done in %v.\n", time.Since(began).Round(time.Millisecond))
	}
	return err
}

func (o *Options) check() error {
	switch {
	case o.First < 1:
		return fmt.Errorf("--from %d: heartbeats count from 1", o.First)
	case o.Last != 0 && o.Last < o.First:
		return fmt.Errorf("--heartbeats %d: it is the number of the last one, and --from is %d", o.Last, o.First)
	case o.InFlight < 1:
		return fmt.Errorf("--in-flight %d: use 1 or more", o.InFlight)
	case o.RequestTimeout <= 0:
		return fmt.Errorf("--request-timeout %v: use a time above 0", o.RequestTimeout)
	case o.Inside && o.RealTime:
		return errors.New("--inside makes rows as fast as it can: leave --real-time out")
	case o.Inside && o.Metrics != "":
		return errors.New("--inside sends nothing that could be counted: leave --metrics-address out")
	case o.Inside && o.Fleet.Stories:
		return errors.New("--inside makes no stories: leave --stories out")
	}
	return o.Fleet.Check()
}

// begin sets the start of the sessions.
func (o *Options) begin(now time.Time) error {
	if o.Start != "" {
		var err error
		if o.Fleet.Start, err = time.Parse(time.RFC3339, o.Start); err != nil {
			return fmt.Errorf("--start %q is no time: write it like 2026-11-24T10:30:00Z", o.Start)
		}
		return nil
	}
	back := time.Duration(o.Last+1) * o.Fleet.Interval // each has an offset in the interval of its own
	if o.RealTime {
		back = time.Duration(o.First) * o.Fleet.Interval
	}
	o.Fleet.Start = now.Add(-back).Truncate(time.Second)
	return nil
}

func (o *Options) send(ctx context.Context, out io.Writer) error {
	var clients []deliver.Client
	for range connections {
		client, err := deliver.NewClient(o.Endpoint, o.Security)
		if err != nil {
			return err
		}
		defer client.Close()
		clients = append(clients, client)
	}
	var failure atomic.Pointer[error]
	sender := fleet.Sender{Clients: clients, First: o.First, Last: o.Last, RealTime: o.RealTime, InFlight: o.InFlight, RequestTimeout: o.RequestTimeout,
		Failed: func(err error) { failure.Store(&err) }}
	ended := make(chan error, 1)
	sensors := o.Fleet.MakeSensors()
	if o.Metrics != "" {
		stop, err := o.serveMetrics(&sender, sensors)
		if err != nil {
			return err
		}
		defer stop()
	}
	go func() { ended <- sender.Send(ctx, sensors) }()
	began := time.Now()
	report := func() {
		sent := sender.Sent()
		fmt.Fprintf(out, "  %d heartbeats, %d records (%.0f/s) in %d requests, %.1f MB, %d attempts repeated\n", sent.Heartbeats.Load(), sent.Records.Load(),
			float64(sent.Records.Load())/time.Since(began).Seconds(), sent.Requests.Load(), float64(sent.Bytes.Load())/1e6, sent.Retries.Load())
	}
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			report()
			if err := failure.Swap(nil); err != nil {
				fmt.Fprintf(out, "  %s does not take all: it is tried again. The last reason: %v\n", o.Endpoint, *err)
			}
		case err := <-ended:
			report()
			if ctx.Err() == nil {
				return err
			}
			if o.Last == 0 {
				return nil // told to end, as it must be
			}
			return fmt.Errorf("stopped after %d of %d heartbeats", sender.Sent().Heartbeats.Load(), uint64(o.Fleet.Sensors)*(o.Last-o.First+1))
		}
	}
}

// serveMetrics shows Prometheus what the sender brings, until stop.
func (o *Options) serveMetrics(sender *fleet.Sender, sensors []*fleet.Sensor) (stop func(), err error) {
	listener, err := net.Listen("tcp", o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("--metrics-address: %w", err)
	}
	registry := prometheus.NewRegistry()
	sender.Acknowledged = fleet.NewMetrics(sensors, time.Now(), registry).Acknowledged
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	return func() { server.Close() }, nil
}

func (o *Options) inside(ctx context.Context, out io.Writer) error {
	address := o.DSN
	if address != "" {
		if err := dsn.CheckFlag("--clickhouse-dsn", address, dsn.Writer); err != nil {
			return err
		}
	} else {
		var err error
		if address, err = dsn.FromEnvironment(dsn.Writer); err != nil {
			return err
		}
	}
	if address == "" {
		return fmt.Errorf("--inside needs the DSN of a user who may insert: give it in %s, or its file in %[1]s_FILE (that of `netview run` is STATE/clickhouse/credentials/writer.dsn)", dsn.Writer)
	}
	if err := clickhouse.CheckDatabase(o.Database); err != nil {
		return err
	}
	conn, err := clickhouse.Open(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("ClickHouse does not answer: %w", err)
	}
	var there uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = ? AND name = 'heartbeats'", o.Database).Scan(&there); err == nil && there == 0 {
		return fmt.Errorf("the database %s has no tables of netview: start a collector once, or apply what `netview schema` prints", o.Database)
	}
	return o.Fleet.Inside(ctx, conn, o.Database, o.First, o.Last, func(sensors int) {
		fmt.Fprintf(out, "  %d of %d sensors\n", sensors, o.Fleet.Sensors)
	})
}
