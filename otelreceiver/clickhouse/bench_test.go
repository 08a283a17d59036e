package clickhouse

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
	generator "github.com/netview-project/netview/internal/fleet"
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

// BenchmarkInsert commits batches of 50,000 records that a fleet made, and reports
// what a row costs this process and the server, merging it included.
func BenchmarkInsert(b *testing.B) {
	ch := testch.Start(b)
	w := startReady(b, ch)
	const rows = 50_000
	f := &generator.Fleet{Seed: 3, Sensors: 50, Connections: 100, Short: 40, Start: time.Now().Add(-time.Hour), Interval: 15 * time.Second}
	sensors := f.MakeSensors()
	for _, of := range []struct {
		name string
		take func(event.Kind) bool
	}{
		{"events", func(kind event.Kind) bool { return tableOf[kind] == "events" }},
		{"events_without_dns", func(kind event.Kind) bool {
			return tableOf[kind] == "events" && !strings.HasPrefix(string(kind), "dns_")
		}},
		{"connections", func(kind event.Kind) bool { return kind == event.KindConnection }},
		{"flows", func(kind event.Kind) bool { return kind == event.KindFlow }},
	} {
		b.Run(of.name, func(b *testing.B) {
			var batch []event.Event
			for i := 0; len(batch) < rows; i++ {
				beat := sensors[i%len(sensors)].Next()
				for _, e := range slices.Concat(beat.Events, beat.Snapshot.Rows()) {
					if of.take(e.Kind()) {
						batch = append(batch, e)
					}
				}
			}
			batch = batch[:rows]
			server, client := ch.CPU(), cpu(b)
			for b.Loop() {
				for _, e := range batch { // each a new row
					e.Env().Sequence += 1 << 32
				}
				if err := w.Commit(context.Background(), func(to *Batch) {
					for _, e := range batch {
						to.Add(e)
					}
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpu(b)-client)*1e6/float64(b.N*rows), "client-CPU-µs/row")
			b.ReportMetric((ch.CPU()-server)*1e6/float64(b.N*rows), "server-CPU-µs/row")
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// cpu that this process has used, in seconds.
func cpu(b *testing.B) float64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
