package otelreceiver

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// budget shares out the bytes of all requests, of either protocol, from before
// they are read until they are answered.
type budget struct {
	limit   int64
	bytes   *semaphore.Weighted
	waiting atomic.Int64
}

func newBudget(limit int64) *budget {
	return &budget{limit: limit, bytes: semaphore.NewWeighted(limit)}
}

const (
	// longestWait for room: senders that come at the same moment need not be
	// turned away, for they are read within milliseconds.
	longestWait = time.Second
	// mostWaiting requests: each has a stream's window of up to 64 KiB in memory.
	mostWaiting = 256
	// retryDelay is what an overloaded receiver asks of senders.
	retryDelay = time.Second
)

// share is what one request has of a budget. Its zero is not usable.
type share struct {
	budget *budget
	held   int64
}

// grow takes n bytes more. Its error is a gRPC status: there is no room.
func (s *share) grow(ctx context.Context, n int64) error {
	b := s.budget
	if !b.bytes.TryAcquire(n) {
		defer b.waiting.Add(-1)
		if b.waiting.Add(1) > mostWaiting {
			return overloaded(b.limit)
		}
		wait, cancel := context.WithTimeout(ctx, longestWait)
		defer cancel()
		if b.bytes.Acquire(wait, n) != nil {
			return overloaded(b.limit)
		}
	}
	s.held += n
	return nil
}

// shrink gives back all but n bytes.
func (s *share) shrink(n int64) {
	if n < s.held {
		s.budget.bytes.Release(s.held - n)
		s.held = n
	}
}

func overloaded(limit int64) error {
	return retryLater(status.Newf(codes.ResourceExhausted, "the requests in flight take the %d bytes that they may (max_in_flight_mib): retry later", limit)).Err()
}

// retryLater says when to come back. Without that, senders take it to be for good.
func retryLater(s *status.Status) *status.Status {
	if detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)}); err == nil {
		return detailed
	}
	return s
}
