package clickhouse

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	chcolumn "github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
)

// tableOf names the table of each kind.
var tableOf = map[event.Kind]string{
	event.KindConnection:     "snapshot_connections",
	event.KindListener:       "snapshot_listeners",
	event.KindFlow:           "snapshot_flows",
	event.KindHeartbeat:      "heartbeats",
	event.KindNetworkConnect: "events",
	event.KindNetworkAccept:  "events",
	event.KindNetworkListen:  "events",
	event.KindNetworkFlow:    "events",
	event.KindLSMNetConnect:  "events",
	event.KindDNSQuery:       "events",
	event.KindDNSLookup:      "events",
	event.KindDNSResolution:  "events",
	event.KindGap:            "gaps",
}

// TableName is the table that holds the records of a kind.
func TableName(kind event.Kind) string { return tableOf[kind] }

// kindsOf are the kinds that share a table, sorted.
func kindsOf(name string) []event.Kind {
	return slices.DeleteFunc(event.Kinds(), func(kind event.Kind) bool { return tableOf[kind] != name })
}

// EventKinds are the kinds that the table of events holds, sorted.
func EventKinds() []event.Kind { return kindsOf("events") }

// column gathers the values of one field over many records. It keeps copies:
// the records are used again.
type column interface {
	// add takes what the pointer that [event.Field.Value] gives points to; nil
	// where the kind of the record has no such field.
	add(e event.Event, pointer any)
	appendTo(to driver.BatchColumn, kind chcolumn.Type) error
	// reset forgets the values and keeps their memory.
	reset()
}

// columnOf is a column whose values are of type T.
type columnOf[T any] struct {
	read     func(e event.Event, pointer any) (value T, known bool)
	values   []T
	nullable bool
	known    []bool // of a nullable column
}

func (c *columnOf[T]) add(e event.Event, pointer any) {
	var value T
	known := pointer != nil
	if known {
		value, known = c.read(e, pointer)
	}
	c.values = append(c.values, value)
	if c.nullable {
		c.known = append(c.known, known)
	}
}

func (c *columnOf[T]) appendTo(to driver.BatchColumn, _ chcolumn.Type) error {
	if !c.nullable {
		return to.Append(c.values)
	}
	pointers := make([]*T, len(c.values))
	for i := range c.values {
		if c.known[i] {
			pointers[i] = &c.values[i]
		}
	}
	return to.Append(pointers)
}

func (c *columnOf[T]) reset() {
	clear(c.values) // maps among them need not live on
	c.values, c.known = c.values[:0], c.known[:0]
}

// textColumn is a column of strings, in which an empty one is null where the
// column may be null.
type textColumn struct {
	nullable bool
	values   []string
}

func (c *textColumn) add(_ event.Event, pointer any) {
	value := ""
	if pointer != nil {
		value = *pointer.(*string)
	}
	c.values = append(c.values, value)
}

func (c *textColumn) reset() {
	clear(c.values)
	c.values = c.values[:0]
}

func (c *textColumn) appendTo(to driver.BatchColumn, kind chcolumn.Type) error {
	switch {
	case strings.HasPrefix(string(kind), "LowCardinality("):
		return c.appendDictionary(to)
	case !c.nullable:
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
func (c *textColumn) appendDictionary(to driver.BatchColumn) error {
	boxes := map[string]any{}
	if c.nullable {
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

// listColumn is a column of lists, which takes the lists themselves. Most rows of a
// table have none.
type listColumn[T any] struct{ values [][]T }

func (c *listColumn[T]) add(_ event.Event, pointer any) {
	var list []T
	if pointer != nil {
		list = *pointer.(*[]T)
	}
	c.values = append(c.values, list)
}

// appendTo goes by rows: by columns the driver reflects on every entry.
func (c *listColumn[T]) appendTo(to driver.BatchColumn, _ chcolumn.Type) error {
	for _, list := range c.values {
		if err := to.AppendRow(list); err != nil {
			return err
		}
	}
	return nil
}

func (c *listColumn[T]) reset() {
	clear(c.values)
	c.values = c.values[:0]
}

func plain[T any](nullable bool) column {
	return &columnOf[T]{nullable: nullable, read: func(_ event.Event, pointer any) (T, bool) { return *pointer.(*T), true }}
}

// newColumn returns the column that stores a field of the kind.
func newColumn(f *event.Field, kind event.Kind, nullable bool) column {
	switch f.Value(event.New(kind)).(type) {
	case *string:
		return &textColumn{nullable: nullable}
	case *bool:
		return plain[bool](nullable)
	case *uint16:
		return plain[uint16](nullable)
	case *uint64:
		return plain[uint64](nullable)
	case *netip.Addr:
		return plain[netip.Addr](nullable)
	case *uuid.UUID:
		return plain[uuid.UUID](nullable)
	case *time.Time:
		return plain[time.Time](nullable)
	case *[]string:
		return &listColumn[string]{}
	case *[]uint32:
		return &listColumn[uint32]{}
	case *map[string]uint64:
		return plain[map[string]uint64](false)
	case *map[string]string:
		return plain[map[string]string](false)
	case *time.Duration:
		return &columnOf[float64]{nullable: nullable, read: func(_ event.Event, p any) (float64, bool) { return p.(*time.Duration).Seconds(), true }}
	case *event.Optional[bool]:
		return &columnOf[bool]{nullable: true, read: func(_ event.Event, pointer any) (bool, bool) {
			p := pointer.(*event.Optional[bool])
			return p.Value, p.Known
		}}
	case *event.Optional[uint32]:
		return &columnOf[uint32]{nullable: true, read: func(_ event.Event, pointer any) (uint32, bool) {
			p := pointer.(*event.Optional[uint32])
			return p.Value, p.Known
		}}
	case *event.Optional[uint64]:
		return &columnOf[uint64]{nullable: true, read: func(_ event.Event, pointer any) (uint64, bool) {
			p := pointer.(*event.Optional[uint64])
			return p.Value, p.Known
		}}
	case *event.Optional[time.Duration]:
		if ColumnName(f, kind) == startedAt {
			return &columnOf[time.Time]{nullable: true, read: func(e event.Event, pointer any) (time.Time, bool) {
				p := pointer.(*event.Optional[time.Duration])
				return e.Env().Timestamp.Add(-p.Value), p.Known
			}}
		}
		return &columnOf[float64]{nullable: true, read: func(_ event.Event, pointer any) (float64, bool) {
			p := pointer.(*event.Optional[time.Duration])
			return p.Value.Seconds(), p.Known
		}}
	default:
		panic("clickhouse: no column for field " + f.Column)
	}
}

// startedAt is stored for the duration of a row of a snapshot; see schema/tables.
const startedAt = "started_at"

// ColumnName is the stored column of a field of the kind. It differs from
// [event.Field.Column] where the table computes that from another.
func ColumnName(f *event.Field, kind event.Kind) string {
	if (kind == event.KindConnection || kind == event.KindFlow) && f.Column == "duration_secs" {
		return startedAt
	}
	return f.Column
}

// table gathers the rows of the kinds that share a table. A column is null, or
// the zero of its type, in the rows of kinds that have no such field.
type table struct {
	name    string
	names   []string
	columns []column
	// fields of each kind, in the order of columns; nil where it has none.
	fields  map[event.Kind][]*event.Field
	kinds   *textColumn // the column kind; nil where there is one kind only
	unknown []map[string]string
	rows    int
}

func newTable(name string) *table {
	t := &table{name: name, fields: map[event.Kind][]*event.Field{}}
	kinds := kindsOf(name)
	at := map[string]int{}
	for _, kind := range kinds {
		fields := event.Fields(kind)
		for i := range fields {
			f := &fields[i]
			stored := ColumnName(f, kind)
			if _, known := at[stored]; !known {
				at[stored] = len(t.columns)
				t.names = append(t.names, stored)
				t.columns = append(t.columns, newColumn(f, kind, mayBeNull(stored, kinds)))
			}
		}
	}
	for _, kind := range kinds {
		fields := event.Fields(kind)
		t.fields[kind] = make([]*event.Field, len(t.columns))
		for i := range fields {
			t.fields[kind][at[ColumnName(&fields[i], kind)]] = &fields[i]
		}
	}
	if len(kinds) > 1 {
		t.kinds = &textColumn{}
		t.names = append(t.names, "kind")
	}
	return t
}

// mayBeNull reports whether a column is null in some rows of its table: where a
// kind leaves it open, or does not have it.
func mayBeNull(stored string, kinds []event.Kind) bool {
	for _, kind := range kinds {
		i := slices.IndexFunc(event.Fields(kind), func(f event.Field) bool { return ColumnName(&f, kind) == stored })
		if i < 0 || event.Fields(kind)[i].Null != "" {
			return true
		}
	}
	return false
}

func (t *table) add(e event.Event) {
	kind := e.Kind()
	fields := t.fields[kind]
	for i, c := range t.columns {
		if f := fields[i]; f != nil {
			c.add(e, f.Value(e))
		} else {
			c.add(e, nil)
		}
	}
	if t.kinds != nil {
		t.kinds.values = append(t.kinds.values, string(kind))
	}
	t.unknown = append(t.unknown, e.Env().Attributes)
	t.rows++
}

func (t *table) reset() {
	for _, c := range t.columns {
		c.reset()
	}
	if t.kinds != nil {
		t.kinds.reset()
	}
	clear(t.unknown)
	t.unknown, t.rows = t.unknown[:0], 0
}

// appendTo fills an insert into the columns of names and "attributes".
func (t *table) appendTo(batch driver.Batch) error {
	columns := t.columns
	if t.kinds != nil {
		columns = append(columns[:len(columns):len(columns)], t.kinds)
	}
	for i, c := range columns {
		if err := c.appendTo(batch.Column(i), batch.Columns()[i].Type()); err != nil {
			return fmt.Errorf("column %s: %w", t.names[i], err)
		}
	}
	return batch.Column(len(columns)).Append(t.unknown)
}
