package clickhouse

import (
	"net/netip"
	"strings"
	"time"

	chcolumn "github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
)

// tableOf names the table of each kind.
var tableOf = map[event.Kind]string{
	event.KindConnection: "snapshot_connections",
	event.KindListener:   "snapshot_listeners",
	event.KindHeartbeat:  "heartbeats",
}

// TableName is the table that holds the records of a kind.
func TableName(kind event.Kind) string { return tableOf[kind] }

// column gathers the values of one field over many records.
type column interface {
	add(e event.Event)
	appendTo(to driver.BatchColumn, kind chcolumn.Type) error
	// reset forgets the values and keeps their memory.
	reset()
}

// columnOf is a column whose values are of type T; value reads one from the
// pointer that [event.Field.Value] gives.
type columnOf[P, T any] struct {
	field  *event.Field
	value  func(p P) T
	values []T
}

func (c *columnOf[P, T]) add(e event.Event) {
	c.values = append(c.values, c.value(c.field.Value(e).(P)))
}

func (c *columnOf[P, T]) appendTo(to driver.BatchColumn, _ chcolumn.Type) error {
	return to.Append(c.values)
}

func (c *columnOf[P, T]) reset() {
	clear(c.values) // maps among them need not live on
	c.values = c.values[:0]
}

// textColumn is a column of strings, in which an empty one is null where the
// field may be null.
type textColumn struct {
	field  *event.Field
	values []string
}

func (c *textColumn) add(e event.Event) {
	c.values = append(c.values, *c.field.Value(e).(*string))
}

func (c *textColumn) reset() {
	clear(c.values)
	c.values = c.values[:0]
}

func (c *textColumn) appendTo(to driver.BatchColumn, kind chcolumn.Type) error {
	nullable := c.field.Null != ""
	switch {
	case strings.HasPrefix(string(kind), "LowCardinality("):
		return c.appendDictionary(to, nullable)
	case !nullable:
		return to.Append(c.values)
	}
	pointers := make([]*string, len(c.values))
	for i, value := range c.values {
		if value != "" {
			pointers[i] = &c.values[i]
		}
	}
	return to.Append(pointers)
}

// appendDictionary gives a LowCardinality column its values one by one. The
// driver tells pointers apart by their address, which would put each value into
// the dictionary; and boxing each string anew would cost an allocation a row.
func (c *textColumn) appendDictionary(to driver.BatchColumn, nullable bool) error {
	boxes := map[string]any{}
	if nullable {
		boxes[""] = nil
	}
	last, box := "", any(nil)
	for i, value := range c.values {
		if i == 0 || value != last {
			var known bool
			if box, known = boxes[value]; !known {
				box = value
				boxes[value] = box
			}
			last = value
		}
		if err := to.AppendRow(box); err != nil {
			return err
		}
	}
	return nil
}

func plain[T any](f *event.Field) column {
	return &columnOf[*T, T]{field: f, value: func(p *T) T { return *p }}
}

// nullableColumn is a column of what the host may not be able to give.
type nullableColumn[T any] struct {
	field  *event.Field
	value  func(event.Event) (T, bool)
	values []T
	known  []bool
}

func (c *nullableColumn[T]) add(e event.Event) {
	value, known := c.value(e)
	c.values, c.known = append(c.values, value), append(c.known, known)
}

func (c *nullableColumn[T]) appendTo(to driver.BatchColumn, _ chcolumn.Type) error {
	pointers := make([]*T, len(c.values))
	for i := range c.values {
		if c.known[i] {
			pointers[i] = &c.values[i]
		}
	}
	return to.Append(pointers)
}

func (c *nullableColumn[T]) reset() { c.values, c.known = c.values[:0], c.known[:0] }

// newColumn returns the column that stores a field. It keeps copies of values:
// the records are used again.
func newColumn(f *event.Field, kind event.Kind) column {
	switch f.Value(event.New(kind)).(type) {
	case *string:
		return &textColumn{field: f}
	case *bool:
		return plain[bool](f)
	case *uint16:
		return plain[uint16](f)
	case *uint64:
		return plain[uint64](f)
	case *netip.Addr:
		return plain[netip.Addr](f)
	case *uuid.UUID:
		return plain[uuid.UUID](f)
	case *time.Time:
		return plain[time.Time](f)
	case *map[string]uint64:
		return plain[map[string]uint64](f)
	case *map[string]string:
		return plain[map[string]string](f)
	case *time.Duration:
		return &columnOf[*time.Duration, float64]{field: f, value: func(p *time.Duration) float64 { return p.Seconds() }}
	case *event.Optional[uint32]:
		return &nullableColumn[uint32]{field: f, value: func(e event.Event) (uint32, bool) {
			p := f.Value(e).(*event.Optional[uint32])
			return p.Value, p.Known
		}}
	case *event.Optional[time.Duration]:
		// Stored as the moment it began; see schema/tables.
		return &nullableColumn[time.Time]{field: f, value: func(e event.Event) (time.Time, bool) {
			p := f.Value(e).(*event.Optional[time.Duration])
			return e.Env().Timestamp.Add(-p.Value), p.Known
		}}
	default:
		panic("clickhouse: no column for field " + f.Column)
	}
}

// ColumnName is the stored column of a field of the kind. It differs from
// [event.Field.Column] where the table computes that from another.
func ColumnName(f *event.Field) string {
	if f.Column == "duration_secs" {
		return "started_at"
	}
	return f.Column
}

// table gathers the rows of one kind.
type table struct {
	name    string
	names   []string
	columns []column
	unknown []map[string]string
	rows    int
}

func newTable(kind event.Kind) *table {
	t := &table{name: tableOf[kind]}
	fields := event.Fields(kind)
	for i := range fields {
		t.names = append(t.names, ColumnName(&fields[i]))
		t.columns = append(t.columns, newColumn(&fields[i], kind))
	}
	return t
}

func (t *table) add(e event.Event) {
	for _, c := range t.columns {
		c.add(e)
	}
	t.unknown = append(t.unknown, e.Env().Attributes)
	t.rows++
}

func (t *table) reset() {
	for _, c := range t.columns {
		c.reset()
	}
	clear(t.unknown)
	t.unknown, t.rows = t.unknown[:0], 0
}

func (t *table) appendTo(batch driver.Batch) error {
	for i, c := range t.columns {
		if err := c.appendTo(batch.Column(i), batch.Columns()[i].Type()); err != nil {
			return err
		}
	}
	return batch.Column(len(t.columns)).Append(t.unknown)
}
