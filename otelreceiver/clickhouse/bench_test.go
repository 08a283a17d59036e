package clickhouse

import (
	"context"
	"fmt"
	"testing"

	"github.com/netview-project/netview/internal/testch"
)

// hour of 200 sensors, merged.
func hour(b *testing.B) *generated {
	ch := testch.Start(b)
	startReady(b, ch)
	g := generate(b, ch, 200, 100, 40, 240)
	for _, table := range []string{"events", "heartbeats", "snapshot_connections", "snapshot_listeners", "snapshot_flows"} {
		g.exec("OPTIMIZE TABLE netview.%s FINAL", table)
		b.Log(table, texts(b, g.reader, "SELECT toString(count()) FROM netview."+table)[0], "rows")
	}
	return g
}

// time asks again and again, and reports what one answer costs the server and how
// many rows it reads.
func (g *generated) time(b *testing.B, query string) {
	b.Helper()
	read := g.read(query) // once to warm up
	before := g.server.CPU()
	for b.Loop() {
		if err := g.reader.Exec(context.Background(), query+" FORMAT Null"); err != nil {
			b.Fatalf("%v\n%s", err, query)
		}
	}
	b.ReportMetric((g.server.CPU()-before)*1000/float64(b.N), "CPU-ms/op")
	b.ReportMetric(float64(read), "rows-read")
}

// BenchmarkPages reads page n by a cursor, and the same rows by OFFSET.
func BenchmarkPages(b *testing.B) {
	g := hour(b)
	for _, p := range []struct {
		view, number string // number asks by the number of a page: offset, limit
		limit        int
		pages        []int
	}{
		{"events_after", "SELECT * FROM netview.events FINAL WHERE timestamp < " + moment(g.at) + " ORDER BY kind, sensor_id, timestamp, session, sequence LIMIT %[2]d OFFSET %[1]d", 1000, []int{1, 100, 1000, 1500}},
		{"connections_after", "SELECT * FROM netview.connections(sensor_id = '', at = " + moment(g.at) + ", page = intDiv(%[1]d, %[2]d) + 1, page_size = %[2]d)", 500, []int{1, 20, 35}},
	} {
		cursor, at := "", 1
		for _, page := range p.pages {
			for ; at < page; at += min(page-at, 10_000/p.limit) {
				rows := min(page-at, 10_000/p.limit) * p.limit
				cursor = texts(b, g.reader, fmt.Sprintf("SELECT cursor FROM (SELECT cursor FROM %s) LIMIT 1 OFFSET %d", g.call(p.view, "limit", fmt.Sprint(rows), "after", "'"+cursor+"'"), rows-1))[0]
			}
			b.Run(fmt.Sprintf("%s/page_%d/cursor", p.view, page), func(b *testing.B) {
				g.time(b, "SELECT * FROM "+g.call(p.view, "limit", fmt.Sprint(p.limit), "after", "'"+cursor+"'"))
			})
			b.Run(fmt.Sprintf("%s/page_%d/offset", p.view, page), func(b *testing.B) {
				g.time(b, fmt.Sprintf(p.number, (page-1)*p.limit, p.limit))
			})
		}
	}
}
