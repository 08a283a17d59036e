// Package clickhouse stores netview's records: the schema, the columnar
// inserts, and the group commit by which many senders share one insert.
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"
)

// Options of a [Store]. All are required but SchemaDSN and the callbacks.
type Options struct {
	// DSN of the writer, such as clickhouse://user:password@host:9000.
	DSN string
	// SchemaDSN of the user who owns the schema; DSN where it is empty.
	SchemaDSN string
	Database  string
	// ApplySchema creates and alters the tables; otherwise only their version
	// is checked.
	ApplySchema bool
	Retention   Retention
	// CommitInterval is the least time between the beginnings of two commits.
	CommitInterval time.Duration
	// MaxRows in one commit. A batch may exceed it by one request.
	MaxRows int
	// CommitTimeout bounds one commit.
	CommitTimeout time.Duration
	// Ready is told when the store begins or ceases to accept (err says why).
	Ready func(err error)
	// Warn is told of what is missing without harm.
	Warn func(err error)
	// Committed is told of each commit: its rows, time and outcome.
	Committed func(rows int, took time.Duration, err error)
}

// ErrNotReady is wrapped by the errors of a store that cannot reach ClickHouse.
var ErrNotReady = errors.New("ClickHouse is not ready")

// Store commits batches of many senders together.
type Store struct {
	options Options
	schema  *schema

	mutex   sync.Mutex
	filling *pending
	conn    driver.Conn // nil until the schema is known to be right
	why     error       // why conn is nil, or why the last commit failed
	room    *sync.Cond  // signalled when filling was taken
	spares  []*Batch    // empty ones, with the memory of those that were committed
	// lastTurn is when the last commit began, or will.
	lastTurn time.Time

	wake   chan struct{}
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// pending is a batch with those who wait for it.
type pending struct {
	batch *Batch
	done  chan struct{}
	err   error
}

func newPending(batch *Batch) *pending { return &pending{batch: batch, done: make(chan struct{})} }

// Start begins to connect in the background; it does no I/O itself. The store
// accepts nothing until ClickHouse has answered and the schema is right.
func Start(options Options) (*Store, error) {
	schema, err := newSchema(options.Database, options.Retention)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Store{options: options, schema: schema, filling: newPending(NewBatch()),
		why: errors.New("not connected yet"), wake: make(chan struct{}, 1), cancel: cancel}
	s.room = sync.NewCond(&s.mutex)
	s.done.Go(func() { s.run(ctx) })
	return s, nil
}

// Close commits what is waiting and ends the store. No Commit may begin after it.
func (s *Store) Close() {
	s.cancel()
	s.done.Wait()
}

// Commit calls add with the batch that is being filled and returns when all that
// add put there is committed. An error wraps [ErrNotReady], or is that of the
// commit; either way the records may be sent again.
func (s *Store) Commit(ctx context.Context, add func(*Batch)) error {
	s.mutex.Lock()
	for s.conn != nil && s.filling.batch.Rows() >= s.options.MaxRows {
		s.room.Wait()
	}
	if s.conn == nil {
		err := fmt.Errorf("%w: %w", ErrNotReady, s.why)
		s.mutex.Unlock()
		return err
	}
	p := s.filling
	add(p.batch)
	s.mutex.Unlock()

	select {
	case s.wake <- struct{}{}:
	default:
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Err says why the store does not accept; nil where it does.
func (s *Store) Err() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.conn == nil {
		return fmt.Errorf("%w: %w", ErrNotReady, s.why)
	}
	return nil
}

func (s *Store) run(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := s.connect(ctx)
		if err != nil {
			return // the store is closing, or the schema is newer than this program
		}
		s.accept(conn)
		s.refuse(s.commitLoop(ctx, conn))
		conn.Close()
		if err := s.why; ctx.Err() == nil {
			s.options.Ready(err)
		}
	}
}

func (s *Store) accept(conn driver.Conn) {
	s.mutex.Lock()
	s.conn, s.why = conn, nil
	s.mutex.Unlock()
	s.options.Ready(nil)
}

// refuse makes the store accept nothing, and fails those who wait.
func (s *Store) refuse(err error) {
	s.mutex.Lock()
	p := s.filling
	s.conn, s.why, s.filling = nil, err, newPending(NewBatch())
	s.room.Broadcast()
	s.mutex.Unlock()
	p.err = fmt.Errorf("%w: %w", ErrNotReady, err)
	close(p.done)
}

// connect tries until ClickHouse answers and the schema is right. Its only
// errors are the end of ctx and a schema that is too new.
func (s *Store) connect(ctx context.Context) (driver.Conn, error) {
	attempt := func() (driver.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		conn, err := s.prepare(ctx)
		var newer *NewerSchemaError
		if errors.As(err, &newer) {
			err = backoff.Permanent(err)
		}
		if err != nil && ctx.Err() == nil {
			s.mutex.Lock()
			s.why = err
			s.mutex.Unlock()
			s.options.Ready(err)
		}
		return conn, err
	}
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.MaxInterval = 250*time.Millisecond, 5*time.Second
	return backoff.Retry(ctx, attempt, backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(0))
}

func (s *Store) prepare(ctx context.Context) (driver.Conn, error) {
	dsn := s.options.SchemaDSN
	if dsn == "" {
		dsn = s.options.DSN
	}
	owner, err := Open(dsn)
	if err != nil {
		return nil, err
	}
	defer owner.Close()
	server, err := checkServer(owner)
	if err != nil {
		return nil, err
	}
	if s.options.ApplySchema {
		err = s.schema.apply(ctx, owner, server, s.options.Retention, s.options.Warn)
	} else {
		err = s.schema.verify(ctx, owner)
	}
	if err != nil {
		return nil, err
	}
	return openWriter(ctx, s.options.DSN)
}

// committers is how many commits may be under way: while ClickHouse works on one,
// the next is encoded.
const committers = 2

// commitLoop commits batches until one fails or ctx ends. Requests that arrive
// during a commit gather for the next.
func (s *Store) commitLoop(ctx context.Context, conn driver.Conn) error {
	group, healthy := errgroup.WithContext(ctx)
	for range committers {
		group.Go(func() error {
			for {
				select {
				case <-s.wake:
				case <-healthy.Done():
					if ctx.Err() == nil {
						return nil // the other's commit has failed
					}
					_ = s.commitOnce(conn) // those who wait are told
					return errors.New("the receiver is shutting down")
				}
				s.takeTurn(ctx)
				if err := s.commitOnce(conn); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// takeTurn waits until the commit interval has passed since the last commit
// began: under low load each request would cost an insert of its own.
func (s *Store) takeTurn(ctx context.Context) {
	s.mutex.Lock()
	turn := time.Now()
	if next := s.lastTurn.Add(s.options.CommitInterval); next.After(turn) {
		turn = next
	}
	s.lastTurn = turn
	s.mutex.Unlock()
	select {
	case <-time.After(time.Until(turn)):
	case <-ctx.Done():
	}
}

func (s *Store) commitOnce(conn driver.Conn) error {
	s.mutex.Lock()
	p := s.filling
	if p.batch.Rows() == 0 {
		s.mutex.Unlock()
		return nil
	}
	if len(s.spares) == 0 {
		s.spares = append(s.spares, NewBatch())
	}
	last := len(s.spares) - 1
	s.filling, s.spares = newPending(s.spares[last]), s.spares[:last]
	s.room.Broadcast()
	s.mutex.Unlock()

	// Not the store's context: a shutdown must not cut a commit in two.
	ctx, cancel := context.WithTimeout(context.Background(), s.options.CommitTimeout)
	// Not at once: a goroutine of the driver (2.50, contextWatchdog) that sees the
	// end of the insert and of its context at the same time closes the connection
	// half of the times, under the next commit.
	defer time.AfterFunc(time.Second, cancel)
	began := time.Now()
	p.err = p.batch.commit(ctx, conn, s.options.Database)
	s.options.Committed(p.batch.Rows(), time.Since(began), p.err)
	close(p.done)
	p.batch.reset()
	s.mutex.Lock()
	s.spares = append(s.spares, p.batch)
	s.mutex.Unlock()
	return p.err
}
