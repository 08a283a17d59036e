package sensor

import (
	"context"
	"hash/fnv"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/deliver"
)

// requestTimeout bounds one attempt to send; the collector answers after the
// commit, which may have to wait its turn.
const requestTimeout = 40 * time.Second

// Sensor is the whole agent. The data's way: sockets and processes → snapshot →
// queue → collector, with the newest snapshot shown to Prometheus.
type Sensor struct {
	config    Config
	log       *slog.Logger
	resource  event.Resource
	snapshots *snapshots
	client    deliver.Client
	queue     *deliver.Queue // nil without an endpoint
	newest    atomic.Pointer[found]
	failures  atomic.Uint64
}

// New makes a sensor; it does no I/O but to ask who the host is.
func New(config Config, log *slog.Logger) (*Sensor, error) {
	if err := config.Check(); err != nil {
		return nil, err
	}
	resource, err := identify(&config)
	if err != nil {
		return nil, err
	}
	s := &Sensor{config: config, log: log, resource: resource}
	s.snapshots = newSnapshots(&s.config, resource, log)
	if config.Endpoint != "" {
		if s.client, err = deliver.NewClient(config.Endpoint); err != nil {
			return nil, err
		}
		s.queue = deliver.NewQueue(deliver.Options{Client: s.client, MaxSnapshots: config.MaxSnapshots, RequestTimeout: requestTimeout, Log: log})
	}
	return s, nil
}

// Resource identifies the sensor.
func (s *Sensor) Resource() event.Resource { return s.resource }

// State is what the exporter shows.
type State struct {
	// Snapshot is the newest; nil before the first.
	Snapshot *event.Snapshot
	// Collections are what the last heartbeat, failed or not, tried to read.
	Collections []event.Collection
	// Churn counts the listeners that came and went.
	Churn event.Churn
	// Acknowledged is when the newest acknowledged heartbeat was taken.
	Acknowledged time.Time
	// Delivered counts acknowledged records by kind.
	Delivered map[event.Kind]uint64
	// Waiting snapshots.
	Waiting int
	// Losses counts by cause.
	Losses map[string]uint64
	// Failures counts the heartbeats at which nothing could be read.
	Failures uint64
}

// State returns the state now. It takes no lock that a heartbeat holds while it reads.
func (s *Sensor) State() State {
	state := State{Losses: map[string]uint64{}, Failures: s.failures.Load()}
	if newest := s.newest.Load(); newest != nil {
		state.Snapshot, state.Collections, state.Churn = newest.snapshot, newest.collections, newest.churn
	}
	if state.Snapshot != nil {
		maps.Copy(state.Losses, state.Snapshot.Heartbeat.Losses)
	}
	if s.queue != nil {
		status := s.queue.Status()
		state.Acknowledged, state.Delivered, state.Waiting = status.Acknowledged, status.Delivered, status.Waiting
		maps.Copy(state.Losses, status.Losses)
	}
	return state
}

// Run takes and sends snapshots until ctx ends. It fails only when nothing can
// be read at the start.
func (s *Sensor) Run(ctx context.Context) error {
	// The queue has to end with Run also where Run fails.
	ctx, stop := context.WithCancel(ctx)
	var sending sync.WaitGroup
	if s.queue != nil {
		sending.Go(func() { s.queue.Run(ctx) })
		defer s.client.Close()
	}
	defer sending.Wait()
	defer stop()
	if err := s.beat(); err != nil {
		return err
	}
	ticker := newTicker(s.config.Interval, s.resource.SensorID)
	for ticker.wait(ctx) {
		if err := s.beat(); err != nil {
			s.failures.Add(1)
			s.log.Error("This heartbeat is lost", "err", err)
		}
	}
	return nil
}

// Take reads the host as each heartbeat does, and returns the snapshot without
// sending or showing it. The error says that no sockets could be read. It must
// not be called while Run or another Take runs.
func (s *Sensor) Take() (*event.Snapshot, error) {
	f, err := s.snapshots.take()
	return f.snapshot, err
}

func (s *Sensor) beat() error {
	f, err := s.snapshots.take()
	if err != nil {
		if newest := s.newest.Load(); newest != nil {
			f.snapshot, f.churn = newest.snapshot, newest.churn
		}
		s.newest.Store(&f)
		return err
	}
	if s.queue != nil {
		maps.Copy(f.snapshot.Heartbeat.Losses, s.queue.Status().Losses)
		s.queue.Append(f.snapshot)
	}
	s.newest.Store(&f)
	return nil
}

// ticker beats at fixed points of the wall clock, spread over the interval by
// the sensor's name so that a fleet does not beat as one.
type ticker struct {
	interval, offset time.Duration
}

func newTicker(interval time.Duration, sensorID string) ticker {
	hash := fnv.New64a()
	hash.Write([]byte(sensorID))
	return ticker{interval, time.Duration(hash.Sum64() % uint64(interval))}
}

// next is the first point after a moment, both since 1970. Wall time, unlike
// the boot clock, is the same on every host: only on it can points be spread.
func (t ticker) next(now time.Duration) time.Duration {
	return now - (now-t.offset)%t.interval + t.interval
}

// wait sleeps until the next point; it returns false when ctx ends.
func (t ticker) wait(ctx context.Context) bool {
	now := time.Duration(time.Now().UnixNano())
	timer := time.NewTimer(t.next(now) - now)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
