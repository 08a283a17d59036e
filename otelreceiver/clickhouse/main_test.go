package clickhouse

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func TestMain(m *testing.M) { testch.Main(m) }

// watched is a store with what it said of itself.
type watched struct {
	*Store
	ready   chan error
	commits atomic.Int64
}

// startStore runs a store against the engine until the test ends; change may be nil.
func startStore(t testing.TB, ch *testch.Server, change func(*Options)) *watched {
	t.Helper()
	w := &watched{ready: make(chan error, 100)}
	options := Options{DSN: ch.DSN(engine.Writer), SchemaDSN: ch.DSN(engine.Owner), Database: "netview", ApplySchema: true,
		Retention: DefaultRetention(), MaxRows: 100_000, CommitTimeout: 30 * time.Second,
		Ready:     func(err error) { w.ready <- err },
		Warn:      func(err error) { t.Error(err) },
		Committed: func(int, time.Duration, error) { w.commits.Add(1) }}
	if change != nil {
		change(&options)
	}
	var err error
	if w.Store, err = Start(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// said waits for the store's next word on whether it is ready.
func (w *watched) said(t testing.TB) error {
	t.Helper()
	select {
	case err := <-w.ready:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the store says nothing")
		return nil
	}
}

// startReady is startStore, ready to commit.
func startReady(t testing.TB, ch *testch.Server) *watched {
	t.Helper()
	w := startStore(t, ch, nil)
	if err := w.said(t); err != nil {
		t.Fatal(err)
	}
	return w
}

// commit stores events and waits.
func (w *watched) commit(t *testing.T, events ...event.Event) {
	t.Helper()
	if err := w.Commit(context.Background(), func(b *Batch) {
		for _, e := range events {
			b.Add(e)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func connect(t testing.TB, ch *testch.Server, user string) driver.Conn {
	t.Helper()
	conn, err := Open(ch.DSN(user))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// texts returns the only column of a query, which must be text.
func texts(t testing.TB, conn driver.Conn, query string) []string {
	t.Helper()
	values, err := tryTexts(conn, query)
	if err != nil {
		t.Fatalf("%v\n%s", err, query)
	}
	return values
}

func tryTexts(conn driver.Conn, query string) ([]string, error) {
	rows, err := conn.Query(context.Background(), query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var values []string
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, rows.Err()
}
