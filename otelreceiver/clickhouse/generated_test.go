package clickhouse

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	chgo "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	generator "github.com/netview-project/netview/internal/fleet"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// generated is a store with the records of a fleet that does not exist, made
// inside of ClickHouse. Its flows that live are its connections.
type generated struct {
	t             testing.TB
	server        *testch.Server
	owner, reader driver.Conn
	fleet         *generator.Fleet
	// at is when the last heartbeat of the last sensor has come.
	at time.Time
}

// generate makes a fleet whose heartbeats from 1 to beats are there, and arrived
// long ago. Merges are left out, so that copies stay.
func generate(t testing.TB, ch *testch.Server, sensors, connections, short, beats int) *generated {
	const interval = 15 * time.Second
	at := time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	if at.Minute() < 20 { // the partitions of an hour that has just begun hold too little to ask of plans
		at = at.Truncate(time.Hour).Add(-time.Second)
	}
	g := &generated{t: t, server: ch, owner: connect(t, ch, engine.Owner), reader: connect(t, ch, engine.Reader), at: at,
		fleet: &generator.Fleet{Seed: 11, Sensors: sensors, Connections: connections, Short: short, Start: at.Add(-time.Duration(beats+1) * interval), Interval: interval}}
	for _, table := range []string{"events", "heartbeats", "snapshot_connections", "snapshot_listeners", "snapshot_flows"} {
		g.exec("ALTER TABLE netview.%s MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1", table)
	}
	g.insert(1, beats)
	// A copy that arrived before is as if the other were a retry.
	g.exec("INSERT INTO netview.heartbeats (*) SELECT * REPLACE (received - INTERVAL 1 MINUTE AS received) FROM netview.heartbeats")
	return g
}

// insert adds heartbeats, which may be there already.
func (g *generated) insert(first, last int) {
	g.t.Helper()
	if err := g.fleet.Inside(context.Background(), g.owner, "netview", uint64(first), uint64(last), func(int) {}); err != nil {
		g.t.Fatal(err)
	}
}

func (g *generated) exec(format string, arguments ...any) {
	g.t.Helper()
	query := fmt.Sprintf(format, arguments...)
	if err := g.owner.Exec(context.Background(), query); err != nil {
		g.t.Fatalf("%v\n%s", err, query)
	}
}

// moment is a time in SQL.
func moment(t time.Time) string {
	return "toDateTime64('" + t.UTC().Format("2006-01-02 15:04:05.000") + "', 3, 'UTC')"
}

// call is a view in SQL with arguments, name after name and expression, and for
// the others those that leave nothing out.
func (g *generated) call(view string, arguments ...string) string {
	g.t.Helper()
	values := map[string]string{"sensor_id": "''", "at": moment(g.at), "since": moment(g.at.Add(-6 * time.Hour)), "until": moment(g.at), "page": "1", "page_size": "500",
		"after": "''", "limit": "500", "kind": "''", "process": "''", "address": "''", "port": "0", "name": "''", "final_state": "''"}
	for pair := range slices.Chunk(arguments, 2) {
		values[pair[0]] = pair[1]
	}
	views := Views()
	i := slices.IndexFunc(views, func(v View) bool { return v.Name == view })
	if i < 0 {
		g.t.Fatalf("there is no view %s", view)
	}
	var list []string
	for _, p := range views[i].Parameters {
		list = append(list, p.Name+" = "+values[p.Name])
	}
	return fmt.Sprintf("netview.%s(%s)", view, strings.Join(list, ", "))
}

// rows of a view as text, sorted. What differs from call to call is left out.
func (g *generated) rows(call string) ([]string, error) {
	columns := "*"
	if strings.Contains(call, "after = ") {
		columns = "* EXCEPT (cursor)"
	}
	rows, err := tryTexts(g.reader, fmt.Sprintf("SELECT toString(tuple(%s)) FROM %s", columns, call))
	slices.Sort(rows)
	return rows, err
}

// read counts the rows that ClickHouse reads for a query.
func (g *generated) read(query string) (rows uint64) {
	g.t.Helper()
	ctx := chgo.Context(context.Background(), chgo.WithProgress(func(p *chgo.Progress) { rows += p.Rows }))
	answer, err := g.reader.Query(ctx, query)
	if err != nil {
		g.t.Fatalf("%v\n%s", err, query)
	}
	defer answer.Close()
	for answer.Next() {
	}
	if err := answer.Err(); err != nil {
		g.t.Fatal(err)
	}
	return rows
}
