package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/deliver"
)

// Sender brings the heartbeats of a fleet to a receiver as so many sensors would:
// events, the rows of the snapshot, and when all are acknowledged its heartbeat.
type Sender struct {
	// Clients share the sensors among them: a connection takes only so many
	// requests at a time.
	Clients []deliver.Client
	// First and Last heartbeat of each sensor. Without a last one it goes on until
	// the context ends.
	First, Last uint64
	// RealTime waits for the time of each heartbeat; otherwise they are sent as
	// fast as they are taken.
	RealTime bool
	// InFlight is how many heartbeats are on their way at once, at least 1.
	InFlight int
	// RequestTimeout of one attempt.
	RequestTimeout time.Duration
	// Acknowledged is called after each heartbeat, by several at once; nil for nobody.
	Acknowledged func(*Beat)
	// Failed is called after each attempt that will be repeated.
	Failed func(error)

	sent Sent
}

// Sent counts what was acknowledged.
type Sent struct {
	Records, Heartbeats, Requests, Bytes, Retries atomic.Uint64
}

// Sent may be read while it grows.
func (s *Sender) Sent() *Sent { return &s.sent }

// Send returns when everything is acknowledged, when ctx ends (with its error),
// or at the first request that the receiver refuses for good. Where a receiver is
// away or has no room it tries again as long as it takes.
func (s *Sender) Send(ctx context.Context, sensors []*Sensor) error {
	sending, ctx := errgroup.WithContext(ctx)
	room := semaphore.NewWeighted(int64(s.InFlight))
	for i, sensor := range sensors {
		client := s.Clients[i%len(s.Clients)]
		sending.Go(func() error {
			sensor.Skip(s.First - 1)
			for n := s.First; s.Last == 0 || n <= s.Last; n++ {
				if err := s.wait(ctx, sensor.NextTime()); err != nil {
					return err
				}
				if err := room.Acquire(ctx, 1); err != nil {
					return err
				}
				beat := sensor.Next()
				sending.Go(func() error {
					defer room.Release(1)
					if err := s.sendBeat(ctx, client, beat); err != nil {
						return fmt.Errorf("heartbeat %d of %s: %w", n, sensor.Resource.SensorID, err)
					}
					return nil
				})
			}
			return nil
		})
	}
	return sending.Wait()
}

func (s *Sender) wait(ctx context.Context, until time.Time) error {
	if !s.RealTime {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(until)):
		return nil
	}
}

func (s *Sender) sendBeat(ctx context.Context, client deliver.Client, b Beat) error {
	sending, before := errgroup.WithContext(ctx)
	sending.Go(func() error { return s.sendRecords(before, client, b.Events) })
	sending.Go(func() error { return s.sendRecords(before, client, b.Snapshot.Rows()) })
	if err := sending.Wait(); err != nil {
		return err
	}
	if err := s.sendRecords(ctx, client, []event.Event{b.Snapshot.Heartbeat}); err != nil {
		return err
	}
	s.sent.Heartbeats.Add(1)
	if s.Acknowledged != nil {
		s.Acknowledged(&b)
	}
	return nil
}

func (s *Sender) sendRecords(ctx context.Context, client deliver.Client, records []event.Event) error {
	for _, request := range deliver.Requests(records) {
		if err := deliver.SendUntilTaken(ctx, client, request, s.RequestTimeout, s.failed); err != nil {
			return err
		}
		s.sent.Requests.Add(1)
		s.sent.Bytes.Add(uint64(len(request)))
	}
	s.sent.Records.Add(uint64(len(records)))
	return nil
}

func (s *Sender) failed(err error) {
	s.sent.Retries.Add(1)
	if s.Failed != nil && !errors.Is(err, context.Canceled) {
		s.Failed(err)
	}
}
