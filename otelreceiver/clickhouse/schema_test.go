package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/internal/testevent"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// TestTablesFollowTheContract holds every table against the field tables of its
// kinds: a column for each field, nullable exactly where the field may be null
// or one of the kinds has no such field, unless it holds lists.
func TestTablesFollowTheContract(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	owner := connect(t, ch, engine.Owner)
	for _, table := range commitOrder {
		kinds, wantKey := kindsOf(table), "sensor_id, timestamp, session, sequence"
		want := []string{"attributes false", "received false"}
		if len(kinds) > 1 {
			want, wantKey = append(want, "kind false"), "kind, "+wantKey
		}
		for _, kind := range kinds {
			for _, f := range event.Fields(kind) {
				null := false
				for _, other := range kinds {
					i := slices.IndexFunc(event.Fields(other), func(g event.Field) bool { return g.Column == f.Column })
					null = null || i < 0 || event.Fields(other)[i].Null != ""
				}
				null = null && !f.IsList(kind)
				want = append(want, fmt.Sprintf("%s %t", f.Column, null))
				if name := ColumnName(&f, kind); name != f.Column {
					want = append(want, fmt.Sprintf("%s %t", name, null))
				}
			}
		}
		got := texts(t, owner, "SELECT concat(name, ' ', position(type, 'Nullable(') > 0 ? 'true' : 'false') FROM system.columns WHERE database = 'netview' AND default_kind != 'MATERIALIZED' AND table = '"+table+"'")
		slices.Sort(got)
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(got, want) {
			t.Errorf("%s has\n%v\nwant\n%v", table, got, want)
		}
		key := texts(t, owner, "SELECT engine || ' ' || sorting_key FROM system.tables WHERE database = 'netview' AND name = '"+table+"'")
		if len(key) != 1 || key[0] != "ReplacingMergeTree "+wantKey {
			t.Errorf("%s is %v", table, key)
		}
	}
}

// text is how ClickHouse's toString shows the value that v points to.
func text(v any) string {
	switch v := v.(type) {
	case *string:
		if *v == "" {
			return "NULL"
		}
		return *v
	case *bool:
		return strconv.FormatBool(*v)
	case *uint16:
		return strconv.FormatUint(uint64(*v), 10)
	case *uint64:
		return strconv.FormatUint(*v, 10)
	case *event.Optional[bool]:
		if !v.Known {
			return "NULL"
		}
		return strconv.FormatBool(v.Value)
	case *event.Optional[uint32]:
		if !v.Known {
			return "NULL"
		}
		return strconv.FormatUint(uint64(v.Value), 10)
	case *event.Optional[uint64]:
		if !v.Known {
			return "NULL"
		}
		return strconv.FormatUint(v.Value, 10)
	case *time.Duration:
		return strconv.FormatFloat(v.Seconds(), 'f', -1, 64)
	case *event.Optional[time.Duration]:
		if !v.Known {
			return "NULL"
		}
		return strconv.FormatFloat(v.Value.Seconds(), 'f', -1, 64)
	case *netip.Addr:
		return "::ffff:" + v.String()
	case *uuid.UUID:
		return v.String()
	case *time.Time:
		return v.Format("2006-01-02 15:04:05.000000")
	case *[]string:
		texts := make([]string, len(*v))
		for i, text := range *v {
			texts[i] = "'" + strings.ReplaceAll(text, "'", `\'`) + "'"
		}
		return "[" + strings.Join(texts, ",") + "]"
	case *[]uint32:
		return strings.ReplaceAll(fmt.Sprint(*v), " ", ",")
	case *map[string]uint64:
		return fmt.Sprintf("{'a':%d,'b':%d}", (*v)["a"], (*v)["b"])
	case *map[string]string:
		return fmt.Sprintf("{'tcp':'%s','udp':'%s'}", (*v)["tcp"], (*v)["udp"])
	}
	return fmt.Sprintf("unknown type %T", v)
}

func TestEveryFieldComesBack(t *testing.T) {
	ch := testch.Start(t)
	store := startReady(t, ch)
	reader := connect(t, ch, engine.Reader)
	for i, kind := range event.Kinds() {
		full, bare := testevent.Filled(t, kind), testevent.WithNulls(t, kind)
		full.Env().Attributes = map[string]string{"netview.later": "7"}
		full.Env().Sequence = uint64(1000 * (i + 1)) // kinds share tables
		bare.Env().Sequence = full.Env().Sequence + 100
		store.commit(t, full, bare)
		for _, want := range []event.Event{full, bare} {
			for _, f := range event.Fields(kind) {
				if f.Column == "losses" || f.Column == "features" || f.Column == "kinds" {
					f.Column = "mapSort(" + f.Column + ")"
				}
				got := texts(t, reader, fmt.Sprintf("SELECT ifNull(toString(%s), 'NULL') FROM netview.%s WHERE sequence = %d", f.Column, tableOf[kind], want.Env().Sequence))
				if len(got) != 1 || got[0] != text(f.Value(want)) {
					t.Errorf("%s.%s is %q, want %q", kind, f.Column, got, text(f.Value(want)))
				}
			}
		}
		if got := texts(t, reader, fmt.Sprintf("SELECT toString(attributes) FROM netview.%s WHERE sequence IN (%d, %d) ORDER BY sequence", tableOf[kind], full.Env().Sequence, bare.Env().Sequence)); !slices.Equal(got, []string{"{'netview.later':'7'}", "{}"}) {
			t.Errorf("attributes of %s: %q", kind, got)
		}
	}
}

// TestUpgradeKeepsRows brings a database with rows from each version to the newest.
func TestUpgradeKeepsRows(t *testing.T) {
	ch := testch.Start(t)
	owner := connect(t, ch, engine.Owner)
	ctx := context.Background()
	warn := func(err error) { t.Error(err) }
	server := proto.ParseVersion("26.7.0")
	full, err := newSchema("netview", DefaultRetention())
	if err != nil {
		t.Fatal(err)
	}
	exec := func(statement string) {
		t.Helper()
		if err := owner.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE DATABASE netview")
	exec(full.versionTable())
	rows := 0
	for _, m := range full.migrations {
		for _, statement := range m.statements {
			exec(statement)
		}
		exec(full.recordVersion(m))
		if m.version >= 2 {
			exec(fmt.Sprintf(`INSERT INTO netview.events (kind, sensor_id, sequence, timestamp, netns, transport, family, destination_address, destination_port, result)
				SELECT 'network_connect', 's1', %d, now64(6), 1, 'tcp', 'ipv4', toIPv6('192.0.2.%d'), 443, 'ok'`, m.version, m.version))
			rows++
		}
	}
	if err := full.apply(ctx, owner, server, DefaultRetention(), warn); err != nil {
		t.Fatal(err)
	}
	store := startReady(t, ch)
	store.commit(t, testevent.Filled(t, event.KindDNSQuery), testevent.Filled(t, event.KindDNSLookup))
	old := texts(t, owner, "SELECT concat(transport, ' ', family, ' ', IPv6NumToString(assumeNotNull(destination_address)), ' ', toString(destination_port), ' ', result) FROM netview.events WHERE kind = 'network_connect' AND name IS NULL AND empty(servers) ORDER BY sequence")
	if len(old) != rows || old[0] != "tcp ipv4 ::ffff:192.0.2.2 443 ok" {
		t.Errorf("the rows of before are %q, want %d", old, rows)
	}
	// The index on an address was made of a column of another type.
	if got := texts(t, owner, "SELECT toString(sequence) FROM netview.events WHERE destination_address = toIPv6('192.0.2.2') SETTINGS force_data_skipping_indices = 'destination_address_bloom'"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("by address: %q", got)
	}
	if got := texts(t, owner, "SELECT kind FROM netview.events WHERE name = 'name' SETTINGS force_data_skipping_indices = 'name_bloom'"); len(got) != 0 {
		t.Errorf("by a name that nothing has: %q", got)
	}
	for _, query := range []string{"name = 'name-value'", "endsWith(name, '-value')", "name LIKE '%-value'"} {
		got := texts(t, owner, "SELECT kind FROM netview.events WHERE "+query+" ORDER BY kind SETTINGS force_data_skipping_indices = 'name_text'")
		if !slices.Equal(got, []string{"dns_lookup", "dns_query"}) {
			t.Errorf("%s gives %q", query, got)
		}
	}
}

func TestManyApplyTheSchemaAtOnce(t *testing.T) {
	ch := testch.Start(t)
	var stores []*watched
	for range 8 {
		stores = append(stores, startStore(t, ch, nil))
	}
	record := testevent.Filled(t, event.KindListener)
	for _, s := range stores {
		if err := s.said(t); err != nil {
			t.Error(err)
		}
		s.commit(t, record)
	}
	if got := texts(t, connect(t, ch, engine.Reader), "SELECT toString(count()) FROM netview.snapshot_listeners FINAL"); got[0] != "1" {
		t.Errorf("one record sent through 8 collectors is stored %s times", got[0])
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	if err := connect(t, ch, engine.Owner).Exec(context.Background(), "INSERT INTO netview.schema_versions (version, name) VALUES (99, 'later')"); err != nil {
		t.Fatal(err)
	}
	store := startStore(t, ch, nil)
	var newer *NewerSchemaError
	if err := store.said(t); !errors.As(err, &newer) || newer.Have != 99 || newer.Know != 5 {
		t.Errorf("said %v, want a NewerSchemaError", err)
	}
	if err := store.Commit(context.Background(), func(*Batch) { t.Error("a record was taken") }); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "99") {
		t.Errorf("Commit: %v", err)
	}
}

// TestSchemaByHand applies what `netview schema` prints, as an operator does
// who gives collectors no right to alter tables.
func TestSchemaByHand(t *testing.T) {
	ch := testch.Start(t)
	store := startStore(t, ch, func(o *Options) { o.ApplySchema, o.SchemaDSN = false, "" })
	if err := store.said(t); err == nil || !strings.Contains(err.Error(), "netview schema") {
		t.Errorf("without a schema: %v", err)
	}
	sql, err := SQL("netview", DefaultRetention())
	if err != nil {
		t.Fatal(err)
	}
	owner := connect(t, ch, engine.Owner)
	for _, statement := range split(sql) {
		if err := owner.Exec(context.Background(), statement); err != nil {
			t.Fatalf("%v\n%s", err, statement)
		}
	}
	for err := store.said(t); err != nil; err = store.said(t) {
	}
	store.commit(t, testevent.Filled(t, event.KindConnection))
}

func TestRetention(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	store := startStore(t, ch, func(o *Options) { o.Retention.Connections = 2 * time.Hour })
	if err := store.said(t); err != nil {
		t.Fatal(err)
	}
	for i, age := range []time.Duration{10 * time.Minute, 5 * time.Hour} {
		e := testevent.Filled(t, event.KindConnection)
		e.Env().Timestamp, e.Env().Sequence = time.Now().Add(-age), uint64(i+1)
		store.commit(t, e)
	}
	owner := connect(t, ch, engine.Owner)
	if err := owner.Exec(context.Background(), "OPTIMIZE TABLE netview.snapshot_connections FINAL"); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, owner, "SELECT toString(sequence) FROM netview.snapshot_connections"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("kept the rows %v, want only that of ten minutes ago", got)
	}
	for _, r := range DefaultRetention().tables() {
		if r.table == "snapshot_connections" {
			r.keep = 2 * time.Hour
		}
		got := texts(t, owner, "SELECT engine_full FROM system.tables WHERE database = 'netview' AND name = '"+r.table+"'")
		if !strings.Contains(got[0], "TTL "+r.ttl()) {
			t.Errorf("%s: %s, want TTL %s", r.table, got[0], r.ttl())
		}
	}
}

func TestOptionalIndexesFollowTheServer(t *testing.T) {
	ch := testch.Start(t)
	owner := connect(t, ch, engine.Owner)
	s, err := newSchema("netview", DefaultRetention())
	if err != nil {
		t.Fatal(err)
	}
	indexes := func(conn driver.Conn, version string) []string {
		t.Helper()
		warn := func(err error) { t.Error(err) }
		if err := s.apply(context.Background(), conn, proto.ParseVersion(version), DefaultRetention(), warn); err != nil {
			t.Fatal(err)
		}
		return texts(t, conn, "SELECT extract(create_table_query, 'INDEX binary_text .*? GRANULARITY') FROM system.tables WHERE database = 'netview' AND name = 'snapshot_connections'")
	}
	if got := indexes(owner, "25.8.1"); got[0] != "" {
		t.Errorf("a server of 25.8 is given the index %s", got[0])
	}
	if got := indexes(owner, "26.2.1"); got[0] == "" {
		t.Error("a server of 26.2 is not given the index")
	}
}

// TestSettingsOfOthersStay: what an administrator has set of a table outlives a start.
func TestSettingsOfOthersStay(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	owner := connect(t, ch, engine.Owner)
	setting := func(table string) string {
		t.Helper()
		return texts(t, owner, "SELECT extract(engine_full, 'remove_small_parts_at_right = (\\d)') FROM system.tables WHERE database = 'netview' AND name = '"+table+"'")[0]
	}
	if got := setting("events"); got != "0" {
		t.Errorf("the first start sets %q, want 0", got)
	}
	for _, statement := range []string{
		"ALTER TABLE netview.events MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 1",
		"ALTER TABLE netview.heartbeats RESET SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right",
	} {
		if err := owner.Exec(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
	startReady(t, ch)
	for table, want := range map[string]string{"events": "1", "heartbeats": "0"} {
		if got := setting(table); got != want {
			t.Errorf("%s: the next start leaves %q, want %s", table, got, want)
		}
	}
}

// TestSmallPartsMergeTogether: a part of some ten thousand rows is not merged
// anew for each small one that comes, as it is by ClickHouse's own settings. Its
// level says how often it was.
func TestSmallPartsMergeTogether(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	owner := connect(t, ch, engine.Owner)
	insert := func(rows int) {
		t.Helper()
		if err := owner.Exec(context.Background(), fmt.Sprintf(`INSERT INTO netview.snapshot_connections (sensor_id, session, sequence, timestamp, remote_address)
			SELECT 'a', '6ba7b810-9dad-11d1-80b4-00c04fd430c8', number, now64(6), CAST(reinterpret(randomFixedString(16), 'UInt128') AS IPv6) FROM numbers(%d)`, rows)); err != nil {
			t.Fatal(err)
		}
	}
	insert(60_000)
	const small = 60
	for range small {
		insert(1)
		time.Sleep(50 * time.Millisecond) // for merges to be chosen between them
	}
	var level uint32
	if err := owner.QueryRow(context.Background(), "SELECT argMax(level, rows) FROM system.parts WHERE database = 'netview' AND table = 'snapshot_connections' AND active").Scan(&level); err != nil {
		t.Fatal(err)
	}
	if level > small/10 {
		t.Errorf("the large part was merged %d times for %d small ones", level, small)
	}
}

func TestErrorsHoldNoPassword(t *testing.T) {
	ch := testch.Start(t)
	store := startStore(t, ch, func(o *Options) {
		o.SchemaDSN = strings.Replace(o.SchemaDSN, "netview_owner:", "netview_owner:hunter2", 1)
	})
	if err := store.said(t); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("said %v, want a refusal without the password", err)
	}
	for _, dsn := range []string{"", "hunter2", "clickhouse://u:hunter2@", "mysql://u:hunter2@h", "clickhouse://u:hunter2@h:9000?dial_timeout=x", "://u:hunter2@h"} {
		if err := CheckDSN(dsn); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("CheckDSN(%q): %v", dsn, err)
		}
	}
}
