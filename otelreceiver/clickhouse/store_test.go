package clickhouse

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/internal/testevent"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func numbered(t *testing.T, sequence int, at time.Time) event.Event {
	e := testevent.Filled(t, event.KindConnection)
	e.Env().Sequence, e.Env().Timestamp = uint64(sequence), at.UTC()
	return e
}

func TestManySendersShareACommit(t *testing.T) {
	ch := testch.Start(t)
	store := startReady(t, ch)
	const senders = 200
	var sending sync.WaitGroup
	for i := range senders {
		sending.Go(func() {
			if err := store.Commit(context.Background(), func(b *Batch) { b.Add(numbered(t, i+1, time.Now())) }); err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	stored := texts(t, connect(t, ch, engine.Reader), "SELECT toString(uniqExact(sequence)) FROM netview.snapshot_connections")
	if commits := store.commits.Load(); stored[0] != strconv.Itoa(senders) || commits > senders/4 {
		t.Errorf("%s of %d records stored by %d commits", stored[0], senders, commits)
	}
}

// TestBacklogOverManyPartitions: an honest backlog is old and long, and must not
// be refused for it.
func TestBacklogOverManyPartitions(t *testing.T) {
	ch := testch.Start(t)
	store := startStore(t, ch, func(o *Options) { o.Retention.Connections = 365 * 24 * time.Hour })
	if err := store.said(t); err != nil {
		t.Fatal(err)
	}
	var events []event.Event
	for hour := range 150 {
		events = append(events, numbered(t, hour+1, time.Now().Add(-time.Duration(hour)*time.Hour)))
	}
	store.commit(t, events...)
	if got := texts(t, connect(t, ch, engine.Reader), "SELECT toString(count()) FROM netview.snapshot_connections"); got[0] != "150" {
		t.Errorf("%s of 150 rows stored", got[0])
	}
}

// TestCloseCommitsWhatWaits: a collector that is told to stop still answers for
// what it has taken.
func TestCloseCommitsWhatWaits(t *testing.T) {
	ch := testch.Start(t)
	store := startStore(t, ch, func(o *Options) { o.CommitInterval = time.Hour })
	if err := store.said(t); err != nil {
		t.Fatal(err)
	}
	store.commit(t, numbered(t, 1, time.Now()))
	// The next one waits for the hour to pass, or for the end.
	taken, answer := make(chan struct{}), make(chan error, 1)
	go func() {
		answer <- store.Commit(context.Background(), func(b *Batch) {
			b.Add(numbered(t, 2, time.Now()))
			close(taken)
		})
	}()
	<-taken
	store.Close()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if got := texts(t, connect(t, ch, engine.Reader), "SELECT toString(count()) FROM netview.snapshot_connections"); got[0] != "2" {
		t.Errorf("%s of 2 rows stored", got[0])
	}
}

func TestClickHouseAwayAndBack(t *testing.T) {
	ch := testch.Start(t)
	store := startReady(t, ch)
	ch.Kill()
	one := func(sequence int) error {
		return store.Commit(context.Background(), func(b *Batch) { b.Add(numbered(t, sequence, time.Now())) })
	}
	if err := one(1); err == nil {
		t.Fatal("a record was acknowledged without ClickHouse")
	}
	if err := store.said(t); err == nil {
		t.Fatal("the store calls itself ready without ClickHouse")
	}
	if err := store.Err(); !errors.Is(err, ErrNotReady) {
		t.Errorf("Err() is %v", err)
	}
	ch.Restart()
	for err := store.said(t); err != nil; err = store.said(t) {
	}
	if err := one(2); err != nil {
		t.Error(err)
	}
}

// TestFullBatchMakesSendersWait: no batch grows far past its bound, and nobody is lost.
func TestFullBatchMakesSendersWait(t *testing.T) {
	ch := testch.Start(t)
	store := startStore(t, ch, func(o *Options) { o.MaxRows = 5 })
	if err := store.said(t); err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	for i := range 40 {
		sending.Go(func() {
			err := store.Commit(context.Background(), func(b *Batch) {
				if b.Rows() >= 5 {
					t.Errorf("a batch of %d rows still takes more", b.Rows())
				}
				b.Add(numbered(t, i+1, time.Now()))
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	if got := texts(t, connect(t, ch, engine.Reader), "SELECT toString(uniqExact(sequence)) FROM netview.snapshot_connections"); got[0] != "40" {
		t.Errorf("%s of 40 rows stored", got[0])
	}
}
