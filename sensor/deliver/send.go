package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// longestRetry bounds the wait between two attempts, also one that the collector asks for.
const longestRetry = 10 * time.Second

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
	attempt := func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		response, err := client.Send(ctx, request)
		if err != nil {
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
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.MaxInterval = 200*time.Millisecond, longestRetry
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

// reachable tells the log once when the collector ceases to take records, and
// once when it takes them again.
func (s *Spool) reachable(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if failing := err != nil; s.failing.Swap(failing) != failing {
		if failing {
			s.options.Log.Warn("The collector does not take records: retrying until it does", "err", err)
		} else {
			s.options.Log.Info("The collector takes records again")
		}
	}
}
