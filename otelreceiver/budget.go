package otelreceiver

import (
	"context"
	"sync"
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
	limit int64
	part  int64 // the most for one sensor, where its certificate tells which it is
	all   *room

	mutex sync.Mutex
	parts map[string]*part // of sensors, by name
}

// room is a number of bytes, with those who wait for some.
type room struct {
	bytes   *semaphore.Weighted
	waiting atomic.Int64
	most    int64 // that wait
}

// part is what one sensor may take of a budget, so that it cannot be in the way
// of others.
type part struct {
	room
	users int
}

// newBudget has room for several of the largest request.
func newBudget(limit, largest int64) *budget {
	return &budget{limit: limit, part: min(max(limit/sensorsPart, largest), limit), all: &room{bytes: semaphore.NewWeighted(limit), most: mostWaiting}, parts: map[string]*part{}}
}

const (
	// longestWait for room: senders that come at the same moment need not be
	// turned away, for they are read within milliseconds.
	longestWait = time.Second
	// mostWaiting requests: each has a stream's window of up to 64 KiB in memory.
	mostWaiting = 256
	// sensorsPart is which part of a budget one sensor may take, as a divisor.
	sensorsPart = 4
	// retryDelay is what an overloaded receiver asks of senders.
	retryDelay = time.Second
)

// share is what one request has of a budget, and of its sensor's part.
type share struct {
	budget *budget
	name   string // of the part; empty for none
	part   *part
	held   int64
}

// shareOf is the share of a request: of the part of one sensor, or, without a
// name, of all. It must be ended.
func (b *budget) shareOf(name string) *share {
	s := &share{budget: b, name: name}
	if name == "" {
		return s
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	s.part = b.parts[name]
	if s.part == nil {
		s.part = &part{room: room{bytes: semaphore.NewWeighted(b.part), most: mostWaiting / 2}}
		b.parts[name] = s.part
	}
	s.part.users++
	return s
}

// limit is the most that the request can have.
func (s *share) limit() int64 {
	if s.part != nil {
		return s.budget.part
	}
	return s.budget.limit
}

// end gives back all.
func (s *share) end() {
	s.shrink(0)
	if s.part == nil {
		return
	}
	s.budget.mutex.Lock()
	defer s.budget.mutex.Unlock()
	if s.part.users--; s.part.users == 0 {
		delete(s.budget.parts, s.name)
	}
}

// take waits for n bytes, for a moment; it reports whether it got them.
func (r *room) take(ctx context.Context, n int64) bool {
	if r.bytes.TryAcquire(n) {
		return true
	}
	defer r.waiting.Add(-1)
	if r.waiting.Add(1) > r.most {
		return false
	}
	wait, cancel := context.WithTimeout(ctx, longestWait)
	defer cancel()
	return r.bytes.Acquire(wait, n) == nil
}

// grow takes n bytes more. Its error is a gRPC status: there is no room.
func (s *share) grow(ctx context.Context, n int64) error {
	if s.part != nil && !s.part.take(ctx, n) {
		return overloaded(s.budget.part)
	}
	if !s.budget.all.take(ctx, n) {
		if s.part != nil {
			s.part.bytes.Release(n)
		}
		return overloaded(s.budget.limit)
	}
	s.held += n
	return nil
}

// shrink gives back all but n bytes.
func (s *share) shrink(n int64) {
	if n >= s.held {
		return
	}
	s.budget.all.bytes.Release(s.held - n)
	if s.part != nil {
		s.part.bytes.Release(s.held - n)
	}
	s.held = n
}

func overloaded(limit int64) error {
	return retryLater(status.Newf(codes.ResourceExhausted, "the requests in flight take the %d bytes that they may (max_in_flight_mib, of which one sensor has a quarter): retry later", limit)).Err()
}

// retryLater says when to come back. Without that, senders take it to be for good.
func retryLater(s *status.Status) *status.Status {
	if detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)}); err == nil {
		return detailed
	}
	return s
}
