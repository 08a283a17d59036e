package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/event"
)

// longestRetry bounds the wait between two attempts, also one that the collector asks for.
const longestRetry = 10 * time.Second

// longestDenied bounds the wait after a refusal for identity, which takes somebody
// to mend.
const longestDenied = time.Minute

// Refusal says that the collector will never take some records of a request.
type Refusal struct {
	Records uint64 // 0 is all
	Reason  error
}

func (r *Refusal) Error() string { return r.Reason.Error() }
func (r *Refusal) Unwrap() error { return r.Reason }

// SendUntilTaken sends a request, which is what [Requests] makes, again and
// again until it is acknowledged, refused for good (a [Refusal]), or ctx ends.
// failed is called after each attempt that will be repeated.
func SendUntilTaken(ctx context.Context, client Client, request []byte, timeout time.Duration, failed func(error)) error {
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval = 200 * time.Millisecond
	attempt := func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		response, err := client.Send(ctx, request)
		if err != nil {
			policy.MaxInterval = longestRetry
			if denied(err) {
				policy.MaxInterval = longestDenied
			}
			if Permanent(err) {
				err = backoff.Permanent(&Refusal{Reason: err})
			} else if delay := retryDelay(err); delay > 0 {
				err = errors.Join(err, &backoff.RetryAfterError{Duration: min(delay, longestRetry)})
			}
			return struct{}{}, err
		}
		if n := response.PartialSuccess().RejectedLogRecords(); n > 0 {
			return struct{}{}, backoff.Permanent(&Refusal{uint64(n), fmt.Errorf("%d records were rejected, the first because: %s", n, response.PartialSuccess().ErrorMessage())})
		}
		return struct{}{}, nil
	}
	_, err := backoff.Retry(ctx, attempt, backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, _ time.Duration) { failed(err) }))
	return err
}

// send is [SendUntilTaken] for a request of the spool. failed is called after
// each attempt that will be repeated.
func (s *Spool) send(ctx context.Context, e *entry, failed func()) error {
	err := SendUntilTaken(ctx, s.options.Client, e.body, s.options.RequestTimeout, func(err error) {
		s.reachable(ctx, err)
		failed()
	})
	if err == nil {
		s.reachable(ctx, nil)
	}
	return err
}

// Causes for which an attempt to send failed that is repeated, as named in metrics.
const (
	FailedUnreachable = "unreachable" // no answer, or one that says to come back
	FailedOverloaded  = "overloaded"
	FailedDenied      = "denied" // for who the sensor is
	FailedOther       = "other"  // as of an endpoint that is no collector
)

func failures() []string {
	return []string{FailedUnreachable, FailedOverloaded, FailedDenied, FailedOther}
}

func failureOf(err error) string {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return FailedUnreachable
	case codes.ResourceExhausted:
		return FailedOverloaded
	case codes.PermissionDenied, codes.Unauthenticated:
		return FailedDenied
	}
	return FailedOther
}

// How the collector behaves, from good to bad.
const (
	takes = int32(iota)
	fails
	denies
)

// reachable counts a failed attempt. It tells the log once when the collector
// ceases to take records, once when it is for who the sensor is, and once when it
// takes them again.
func (s *Spool) reachable(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	now := takes
	if err != nil {
		failure := failureOf(err)
		s.show(func(status *event.Delivery) { status.Failed[failure]++ })
		if now = fails; failure == FailedDenied {
			now = denies
		}
	}
	before := s.failing.Load()
	if now == before || now == fails && before == denies || !s.failing.CompareAndSwap(before, now) {
		return
	}
	switch now {
	case takes:
		s.options.Log.Info("The collector takes records again")
	case fails:
		s.options.Log.Warn("The collector does not take records: retrying until it does", "err", err)
	case denies:
		s.options.Log.Error("The collector refuses this sensor for who it is: its records are kept, and it tries again, more and more seldom", "err", err)
	}
}
