// Package deliver takes a sensor's records to the collector: it gives them
// their sequence, sends them by OTLP, and retries until they are acknowledged.
//
// Snapshots wait in memory, in a bounded queue. What does not fit is dropped
// whole, the oldest first, and counted.
package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"golang.org/x/sync/errgroup"

	"github.com/netview-project/netview/event"
)

// Causes of loss in this package, as named in metrics and in the heartbeat.
const (
	// CauseSuperseded: the queue was full and the oldest snapshot made room.
	CauseSuperseded = "snapshot_superseded"
	// CauseRefused: the collector refused a request or some of its records for good.
	CauseRefused = "snapshot_refused"
)

// Options of a [Queue].
type Options struct {
	Client Client
	// MaxSnapshots that wait; at least 1.
	MaxSnapshots int
	// RequestTimeout bounds one attempt to send one request.
	RequestTimeout time.Duration
	Log            *slog.Logger
}

// A request stays under the 4 MiB that gRPC servers accept by default, command
// lines or not: what is too large for the collector would never be taken.
const (
	recordsPerRequest = 2000
	bytesPerRequest   = 3 << 20
)

// longestRetry bounds the wait between two attempts, also one that the collector asks for.
const longestRetry = 10 * time.Second

// requestsInFlight for one snapshot, so that its rows share the receiver's commits.
const requestsInFlight = 8

// Queue sends snapshots in the order in which they were appended.
type Queue struct {
	options Options

	mutex        sync.Mutex
	sequence     uint64
	waiting      []*delivery
	acknowledged time.Time
	delivered    map[event.Kind]uint64
	losses       map[string]uint64
	wake         chan struct{}
}

// delivery is a snapshot on its way. It is encoded only when it is sent: as
// OTLP records it would take several times the memory.
type delivery struct {
	rows      []event.Event
	heartbeat *event.Heartbeat
	kinds     map[event.Kind]uint64
}

func (d *delivery) records() uint64 { return uint64(len(d.rows)) + 1 }

// NewQueue returns a queue; [Queue.Run] sends.
func NewQueue(options Options) *Queue {
	return &Queue{options: options, wake: make(chan struct{}, 1),
		delivered: map[event.Kind]uint64{event.KindConnection: 0, event.KindListener: 0, event.KindHeartbeat: 0},
		losses:    map[string]uint64{CauseSuperseded: 0, CauseRefused: 0}}
}

// Append gives the records of a snapshot their sequence and queues it. The
// snapshot must not change afterwards.
func (q *Queue) Append(s *event.Snapshot) {
	d := &delivery{rows: make([]event.Event, 0, s.Records()-1), heartbeat: s.Heartbeat,
		kinds: map[event.Kind]uint64{event.KindConnection: uint64(len(s.Connections)), event.KindListener: uint64(len(s.Listeners)), event.KindHeartbeat: 1}}
	for _, c := range s.Connections {
		d.rows = append(d.rows, c)
	}
	for _, l := range s.Listeners {
		d.rows = append(d.rows, l)
	}
	q.mutex.Lock()
	defer q.mutex.Unlock()
	for _, e := range d.rows {
		q.sequence++
		e.Env().Sequence = q.sequence
	}
	q.sequence++
	d.heartbeat.Sequence = q.sequence
	if len(q.waiting) >= q.options.MaxSnapshots {
		q.losses[CauseSuperseded] += q.waiting[0].records()
		q.waiting = slices.Delete(q.waiting, 0, 1)
	}
	q.waiting = append(q.waiting, d)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Status is the state of a queue at one moment.
type Status struct {
	// Acknowledged is when the newest acknowledged heartbeat was taken; zero if none was.
	Acknowledged time.Time
	// Delivered counts the records of acknowledged snapshots by kind.
	Delivered map[event.Kind]uint64
	// Waiting snapshots, the one being sent not among them.
	Waiting int
	// Losses counts lost records by cause.
	Losses map[string]uint64
}

// Status returns the state now.
func (q *Queue) Status() Status {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return Status{Acknowledged: q.acknowledged, Delivered: maps.Clone(q.delivered), Waiting: len(q.waiting), Losses: maps.Clone(q.losses)}
}

// Run sends until ctx ends.
func (q *Queue) Run(ctx context.Context) {
	for ctx.Err() == nil {
		d := q.next(ctx)
		if d == nil {
			return
		}
		err := q.deliver(ctx, d)
		q.mutex.Lock()
		switch {
		case err == nil:
			q.acknowledged = d.heartbeat.Timestamp
			for kind, n := range d.kinds {
				q.delivered[kind] += n
			}
		case ctx.Err() == nil:
			q.losses[CauseRefused] += d.records()
			q.options.Log.Error("The collector refused a snapshot for good: it is dropped and counted", "err", err, "records", d.records())
		}
		q.mutex.Unlock()
	}
}

func (q *Queue) next(ctx context.Context) *delivery {
	for {
		q.mutex.Lock()
		if len(q.waiting) > 0 {
			d := q.waiting[0]
			q.waiting = slices.Delete(q.waiting, 0, 1)
			q.mutex.Unlock()
			return d
		}
		q.mutex.Unlock()
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// deliver sends the rows, and the heartbeat only when every row is acknowledged.
func (q *Queue) deliver(ctx context.Context, d *delivery) error {
	group, rows := errgroup.WithContext(ctx)
	group.SetLimit(requestsInFlight)
	for part := range slices.Chunk(d.rows, recordsPerRequest) {
		group.Go(func() error { return q.encode(rows, part) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return q.encode(ctx, []event.Event{d.heartbeat})
}

// encode sends records, in several requests where they are large.
func (q *Queue) encode(ctx context.Context, records []event.Event) error {
	logs := event.Encode(records)
	if half := len(records) / 2; half > 0 && new(plog.ProtoMarshaler).LogsSize(logs) > bytesPerRequest {
		if err := q.encode(ctx, records[:half]); err != nil {
			return err
		}
		return q.encode(ctx, records[half:])
	}
	return q.send(ctx, plogotlp.NewExportRequestFromLogs(logs))
}

// send retries until the request is acknowledged, refused for good, or ctx ends.
func (q *Queue) send(ctx context.Context, request plogotlp.ExportRequest) error {
	attempt := func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, q.options.RequestTimeout)
		defer cancel()
		response, err := q.options.Client.Send(ctx, request)
		if err != nil {
			if Permanent(err) {
				err = backoff.Permanent(err)
			} else if delay := retryDelay(err); delay > 0 {
				err = errors.Join(err, &backoff.RetryAfterError{Duration: min(delay, longestRetry)})
			}
			return struct{}{}, err
		}
		if n := response.PartialSuccess().RejectedLogRecords(); n > 0 {
			return struct{}{}, backoff.Permanent(fmt.Errorf("%d records were rejected, the first because: %s", n, response.PartialSuccess().ErrorMessage()))
		}
		return struct{}{}, nil
	}
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.MaxInterval = 200*time.Millisecond, longestRetry
	failing := false
	_, err := backoff.Retry(ctx, attempt, backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, wait time.Duration) {
			if !failing && !errors.Is(err, context.Canceled) {
				q.options.Log.Warn("The collector does not take records: retrying until it does", "err", err)
			}
			failing = true
		}))
	if err == nil && failing {
		q.options.Log.Info("The collector takes records again")
	}
	return err
}
