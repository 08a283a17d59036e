package clickhouse

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
)

// Quarantined is a record whose clock cannot be believed.
type Quarantined struct {
	SensorID  string
	Session   uuid.UUID
	Sequence  uint64
	Kind      event.Kind
	Reason    string
	Timestamp uint64   // Unix nanoseconds, as sent
	Skew      *float64 // seconds, received less sent; nil where the send time is unknown
	Record    string   // the whole record as OTLP JSON
}

// Batch gathers records of every kind, to be committed together.
type Batch struct {
	tables      map[event.Kind]*table // one for several kinds that share it
	ordered     []*table              // in commitOrder
	quarantined []Quarantined
	rows        int
}

// NewBatch returns an empty batch.
func NewBatch() *Batch {
	b := &Batch{tables: map[event.Kind]*table{}}
	for _, name := range commitOrder {
		t := newTable(name)
		for kind := range t.fields {
			b.tables[kind] = t
		}
		b.ordered = append(b.ordered, t)
	}
	return b
}

// Add takes a copy of a record; of its maps and lists it takes these themselves.
func (b *Batch) Add(e event.Event) {
	b.tables[e.Kind()].add(e)
	b.rows++
}

// Quarantine takes a record whose clock cannot be believed.
func (b *Batch) Quarantine(q Quarantined) {
	b.quarantined = append(b.quarantined, q)
	b.rows++
}

// reset empties the batch and keeps its memory for the next.
func (b *Batch) reset() {
	for _, t := range b.ordered {
		t.reset()
	}
	b.quarantined, b.rows = nil, 0
}

// Rows is the number of records taken.
func (b *Batch) Rows() int { return b.rows }

// commitOrder has the heartbeats last: a stored heartbeat must mean that the
// rows it closes are stored.
var commitOrder = []string{"events", "gaps", "snapshot_connections", "snapshot_listeners", "snapshot_flows", "heartbeats"}

// commit stores the batch over a connection of [openWriter]. When it returns nil
// every row is committed; after an error some may be, and sending them again is
// harmless.
func (b *Batch) commit(ctx context.Context, conn driver.Conn, database string) error {
	for _, t := range b.ordered {
		if t.rows == 0 {
			continue
		}
		names := append(t.names[:len(t.names):len(t.names)], "attributes")
		if err := send(ctx, conn, database, t.name, names, t.appendTo); err != nil {
			return err
		}
	}
	return b.insertQuarantined(ctx, conn, database)
}

func (b *Batch) insertQuarantined(ctx context.Context, conn driver.Conn, database string) error {
	if len(b.quarantined) == 0 {
		return nil
	}
	names := []string{"sensor_id", "session", "sequence", "kind", "reason", "timestamp_unix_nano", "skew_secs", "record"}
	return send(ctx, conn, database, "quarantine", names, func(batch driver.Batch) error {
		for _, q := range b.quarantined {
			if err := batch.Append(q.SensorID, q.Session, q.Sequence, string(q.Kind), q.Reason, q.Timestamp, q.Skew, q.Record); err != nil {
				return err
			}
		}
		return nil
	})
}

func send(ctx context.Context, conn driver.Conn, database, table string, names []string, fill func(driver.Batch) error) error {
	insert := fmt.Sprintf("INSERT INTO %s.%s (%s)", database, table, strings.Join(names, ", "))
	batch, err := conn.PrepareBatch(ctx, insert)
	if err != nil {
		return fmt.Errorf("inserting into %s.%s: %w", database, table, err)
	}
	defer batch.Close()
	if err := fill(batch); err != nil {
		return fmt.Errorf("filling columns of %s.%s: %w", database, table, err)
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("inserting into %s.%s: %w", database, table, err)
	}
	return nil
}
