// Package benchonce measures what it costs ClickHouse that each record counts
// once: tables that replace, and queries that leave copies out, against plain
// ones in the same server on the same rows.
package benchonce

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/netview-project/netview/internal/fleet"
	"github.com/netview-project/netview/internal/testch"
	netview "github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func TestMain(m *testing.M) { testch.Main(m) }

const (
	sensors = 50
	beats   = 480 // two hours
)

type store struct {
	*testch.Server
	b    *testing.B
	conn driver.Conn
}

// fill starts a server with two hours of a fleet in it.
func fill(b *testing.B) *store {
	ch := testch.Start(b)
	ready := make(chan error, 10)
	s, err := netview.Start(netview.Options{DSN: ch.DSN(engine.Writer), SchemaDSN: ch.DSN(engine.Owner), Database: "netview", ApplySchema: true, Retention: netview.DefaultRetention(),
		MaxRows: 1000, CommitTimeout: time.Minute, Ready: func(err error) { ready <- err }, Warn: func(err error) { b.Error(err) }, Committed: func(int, time.Duration, error) {}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := <-ready; err != nil {
		b.Fatal(err)
	}
	conn, err := netview.Open(ch.DSN(engine.Owner))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	f := &fleet.Fleet{Seed: 1, Sensors: sensors, Connections: 100, Short: 40, Start: time.Now().Add(-(beats + 1) * 15 * time.Second).Truncate(time.Second), Interval: 15 * time.Second}
	if err := f.Inside(context.Background(), conn, "netview", 1, beats, func(int) {}); err != nil {
		b.Fatal(err)
	}
	return &store{ch, b, conn}
}

func (s *store) exec(format string, arguments ...any) {
	s.b.Helper()
	query := fmt.Sprintf(format, arguments...)
	if err := s.conn.Exec(context.Background(), query); err != nil {
		s.b.Fatalf("%v\n%s", err, query)
	}
}

func (s *store) number(query string) (n uint64) {
	s.b.Helper()
	if err := s.conn.QueryRow(context.Background(), query).Scan(&n); err != nil {
		s.b.Fatalf("%v\n%s", err, query)
	}
	return n
}

// BenchmarkTables inserts the same rows in blocks as the receiver's commits have
// them and merges them into one part per partition, in a table that replaces and
// in a plain one. The plain table's key is shorter where it needs no identity.
func BenchmarkTables(b *testing.B) {
	s := fill(b)
	for _, table := range []struct{ name, engine, key string }{
		{"replacing", "ReplacingMergeTree", "sensor_id, timestamp, session, sequence"},
		{"plain", "MergeTree", "sensor_id, timestamp, session, sequence"},
		{"plain_short_key", "MergeTree", "sensor_id, timestamp"},
	} {
		b.Run(table.name, func(b *testing.B) {
			var used, millions float64
			for b.Loop() {
				s.exec("CREATE TABLE netview.copy AS netview.snapshot_connections ENGINE = %s PARTITION BY toStartOfHour(timestamp) ORDER BY (%s)", table.engine, table.key)
				ctx := clickhouse.Context(context.Background(), clickhouse.WithSettings(clickhouse.Settings{"max_block_size": 20_000, "min_insert_block_size_rows": 20_000, "min_insert_block_size_bytes": 0, "max_insert_threads": 1, "max_threads": 1}))
				before := s.CPU()
				if err := s.conn.Exec(ctx, "INSERT INTO netview.copy SELECT * FROM netview.snapshot_connections"); err != nil {
					b.Fatal(err)
				}
				s.exec("OPTIMIZE TABLE netview.copy FINAL")
				used += s.CPU() - before
				millions += float64(s.number("SELECT count() FROM netview.copy")) / 1e6
				s.exec("DROP TABLE netview.copy SYNC")
			}
			b.ReportMetric(used/millions, "CPU-s/M-rows")
		})
	}
}

// withoutOnce is the view `connections` as it would be if nothing came twice.
func withoutOnce(b *testing.B) string {
	text, err := os.ReadFile("../../otelreceiver/clickhouse/schema/views/20_connections.sql")
	if err != nil {
		b.Fatal(err)
	}
	const once = "LIMIT 1 BY session, sequence"
	sql := strings.NewReplacer("{{database}}.connections AS", "netview.connections_plain AS", "{{database}}", "netview", once, "", ";\n", "\n").Replace(string(text))
	if strings.Count(string(text), once) != 2 {
		b.Fatal("the view does not leave copies out as this benchmark expects it to")
	}
	return sql
}

// BenchmarkQueries asks with and without leaving copies out: of merged parts, and
// of parts that hold one row in twenty twice.
func BenchmarkQueries(b *testing.B) {
	s := fill(b)
	s.exec("%s", withoutOnce(b))
	at := time.Now().UTC().Add(-time.Minute).Format("2006-01-02 15:04:05.000")
	sensor := ""
	if err := s.conn.QueryRow(context.Background(), "SELECT any(sensor_id) FROM netview.events WHERE kind = 'network_flow'").Scan(&sensor); err != nil {
		b.Fatal(err)
	}
	const top = "SELECT destination_address, count() AS n, sum(bytes_sent) FROM %s WHERE kind = 'network_flow' AND %s AND timestamp > now64(6) - INTERVAL 1 HOUR GROUP BY destination_address ORDER BY n DESC LIMIT 20"
	limited := "(SELECT kind, sensor_id, timestamp, destination_address, bytes_sent FROM netview.events WHERE kind = 'network_flow' AND %s AND timestamp > now64(6) - INTERVAL 1 HOUR LIMIT 1 BY session, sequence)"
	one, all := "sensor_id = '"+sensor+"'", "1"
	queries := []struct{ name, sql string }{
		{"connections_view/plain", "SELECT * FROM netview.connections_plain(sensor_id = '', at = '" + at + "', page = 1, page_size = 100)"},
		{"connections_view/shipped", "SELECT * FROM netview.connections(sensor_id = '', at = '" + at + "', page = 1, page_size = 100)"},
		{"top_of_a_sensor/plain", fmt.Sprintf(top, "netview.events", one)},
		{"top_of_a_sensor/FINAL", fmt.Sprintf(top, "netview.events FINAL", one)},
		{"top_of_a_sensor/LIMIT_1_BY", fmt.Sprintf(top, fmt.Sprintf(limited, one), one)},
		{"top_of_the_fleet/plain", fmt.Sprintf(top, "netview.events", all)},
		{"top_of_the_fleet/FINAL", fmt.Sprintf(top, "netview.events FINAL", all)},
		{"top_of_the_fleet/LIMIT_1_BY", fmt.Sprintf(top, fmt.Sprintf(limited, all), all)},
	}
	for _, state := range []string{"merged", "twice"} {
		for _, table := range []string{"events", "snapshot_connections", "heartbeats"} {
			if state == "merged" {
				s.exec("OPTIMIZE TABLE netview.%s FINAL", table)
			} else {
				s.exec("ALTER TABLE netview.%s MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1", table)
				s.exec("INSERT INTO netview.%s SELECT * FROM netview.%[1]s WHERE cityHash64(sequence) %% 20 = 0", table)
				if rows, once := s.number("SELECT count() FROM netview."+table), s.number("SELECT count() FROM netview."+table+" FINAL"); rows == once {
					b.Fatalf("%s: nothing is there twice", table)
				}
			}
		}
		for _, query := range queries {
			b.Run(state+"/"+query.name, func(b *testing.B) {
				before := s.CPU()
				for b.Loop() {
					s.exec("%s FORMAT Null", query.sql)
				}
				b.ReportMetric((s.CPU()-before)*1000/float64(b.N), "CPU-ms/op")
			})
		}
	}
}
