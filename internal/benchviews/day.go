package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/netview-project/netview/internal/fleet"
)

// What the day is of.
const (
	interval    = 15 * time.Second
	beatsAnHour = int(time.Hour / interval)
	beatsMade   = beatsAnHour / 3
	connections = 500
	// The fleet of the events has so many connections and short ones: that makes 9.6
	// events a heartbeat, and 11 million in all.
	connectionsOfEvents, shortOfEvents = 30, 4
)

// day is a day of a fleet. Making 1.1 billion rows of snapshots takes the generator
// hours, so that it makes those of the first 20 minutes, and the others are copies
// of them with time, heartbeat and sequence moved on. A fleet with 500 connections
// has 62 events a heartbeat, and 70 million a day: the events are those of the same
// sensors with fewer connections, made by the generator for the whole day. All are
// numbered anew, so that each sensor has one session without a hole.
type day struct {
	conn           driver.Conn // of the owner
	sensors, hours int
	begin          time.Time // of the first hour
}

func (d *day) exec(ctx context.Context, format string, arguments ...any) error {
	query := fmt.Sprintf(format, arguments...)
	if err := d.conn.Exec(ctx, query); err != nil {
		return fmt.Errorf("%w\n%s", err, query)
	}
	return nil
}

func (d *day) count(ctx context.Context, format string, arguments ...any) (n uint64, err error) {
	query := fmt.Sprintf(format, arguments...)
	if err := d.conn.QueryRow(ctx, query).Scan(&n); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, query)
	}
	return n, nil
}

// snapshots and the tables of their rows, with what differs in a copy of so many
// minutes later.
var snapshots = map[string]string{
	"listeners":   "",
	"connections": ", started_at + toIntervalMinute(later) AS started_at",
	"flows":       ", started_at + toIntervalMinute(later) AS started_at",
}

// fill the store, or what is not there of it after an interruption.
func (d *day) fill(ctx context.Context) error {
	there, err := d.count(ctx, "SELECT count() FROM netview.heartbeats")
	if err != nil {
		return err
	}
	if there == 0 {
		if err := d.make(ctx); err != nil {
			return fmt.Errorf("filling the store: %w (remove it before the next try)", err)
		}
	}
	// What was begun another day goes on as that one.
	var hours uint64
	var missing int64
	if err := d.conn.QueryRow(ctx, `SELECT toStartOfHour(min(timestamp)), uniqExact(toStartOfHour(timestamp)), toInt64(assumeNotNull(sum(connections + flows + tcp_listeners + udp_listeners)
			- (SELECT count() FROM netview.snapshot_connections) - (SELECT count() FROM netview.snapshot_flows) - (SELECT count() FROM netview.snapshot_listeners)))
		FROM netview.heartbeats`).Scan(&d.begin, &hours, &missing); err != nil {
		return err
	}
	working, err := d.count(ctx, "SELECT count() FROM system.tables WHERE database = 'netview' AND name = 'beats'")
	switch {
	case err != nil:
		return err
	case working == 0 && missing != 0:
		return fmt.Errorf("the store lacks %d rows of its snapshots and what they are made from: remove it", missing)
	case working == 0:
		return nil
	}
	d.hours = int(hours)
	// The newest first, so that an unfinished store is one with a shorter past.
	for hour := d.hours - 1; hour >= 0; hour-- {
		if err := d.copy(ctx, hour); err != nil {
			return err
		}
		say("hour %d of %d is there", hour+1, d.hours)
	}
	for _, table := range []string{"made_snapshot_connections", "made_snapshot_listeners", "made_snapshot_flows", "beats"} {
		if err := d.exec(ctx, "DROP TABLE netview.%s", table); err != nil {
			return err
		}
	}
	return nil
}

// make events and heartbeats, an hour of snapshots in tables made_…, and the
// numbers of the records in beats.
func (d *day) make(ctx context.Context) error {
	f := fleet.Fleet{Seed: 11, Sensors: d.sensors, Start: d.begin.Add(-interval), Interval: interval} // the first heartbeats are of the first hour
	for _, part := range []struct {
		name               string
		connections, short int
		beats              int
		made, tables       []string
	}{
		{"day", connectionsOfEvents, shortOfEvents, d.hours * beatsAnHour, []string{"events", "heartbeats"}, []string{"events", "heartbeats"}},
		{"made", connections, 0, beatsMade, []string{"heartbeats", "listeners", "connections", "flows"}, []string{"heartbeats", "snapshot_listeners", "snapshot_connections", "snapshot_flows"}},
	} {
		f.Connections, f.Short = part.connections, part.short
		if err := f.Fill(ctx, d.conn, "netview", part.made, 1, uint64(part.beats), func(sensors int) {
			say("%v of %d heartbeats: %d of %d sensors", part.made, part.beats, sensors, d.sensors)
		}); err != nil {
			return err
		}
		for _, table := range part.tables {
			if err := d.exec(ctx, "RENAME TABLE netview.%s TO netview.%s_%[1]s", table, part.name); err != nil {
				return err
			}
			if err := d.exec(ctx, "CREATE TABLE netview.%s AS netview.%s_%[1]s", table, part.name); err != nil {
				return err
			}
		}
	}
	for table, started := range snapshots {
		for _, statement := range []string{
			// An hour in the order of the key.
			fmt.Sprintf("INSERT INTO netview.made_snapshot_%s WITH 20 * third AS later SELECT * REPLACE (timestamp + toIntervalMinute(later) AS timestamp, heartbeat + %d * third AS heartbeat%s) FROM netview.made_snapshot_%[1]s ARRAY JOIN [1, 2] AS third", table, beatsMade, started),
			fmt.Sprintf("OPTIMIZE TABLE netview.made_snapshot_%s FINAL", table),
			// What is copied comes in a few large parts, each a range of the key of its own:
			// merging them would take as long as copying does, and change little.
			fmt.Sprintf("ALTER TABLE netview.snapshot_%s MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1", table),
		} {
			if err := d.exec(ctx, "%s", statement); err != nil {
				return err
			}
		}
		say("an hour of %s is made", table)
	}
	for _, statement := range []string{
		// `before` is the last sequence before a beat, `made` the one that the generator
		// gave, and in_made the last one before the rows that are copied.
		fmt.Sprintf(`CREATE TABLE netview.beats ENGINE = MergeTree ORDER BY (sensor_id, heartbeat) AS
			SELECT sensor_id, d.heartbeat AS heartbeat, d.time_wait AS events,
				h.connections AS connections, h.tcp_listeners AS tcp_listeners, h.udp_listeners AS udp_listeners, h.flows AS flows,
				assumeNotNull(connections + tcp_listeners + udp_listeners + flows) AS rows,
				toUInt64(assumeNotNull(d.sequence - 1 - d.connections - d.tcp_listeners - d.udp_listeners - d.flows - d.time_wait)) AS made,
				toUInt64(h.sequence - 1 - rows) AS in_made,
				sum(events + rows + 1) OVER (PARTITION BY sensor_id ORDER BY heartbeat ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - events - rows - 1 AS before
			FROM netview.day_heartbeats AS d
			INNER JOIN netview.made_heartbeats AS h ON d.sensor_id = h.sensor_id AND toUInt64((d.heartbeat - 1) %% %d + 1) = h.heartbeat`, beatsMade),
		`INSERT INTO netview.events SELECT e.* REPLACE (e.sequence - b.made + b.before AS sequence)
			FROM netview.day_events AS e ASOF INNER JOIN netview.beats AS b ON e.sensor_id = b.sensor_id AND e.sequence > b.made`,
		"OPTIMIZE TABLE netview.events FINAL",
		`INSERT INTO netview.heartbeats SELECT d.* REPLACE (b.before + b.events + b.rows + 1 AS sequence,
				b.connections AS connections, b.tcp_listeners AS tcp_listeners, b.udp_listeners AS udp_listeners, b.flows AS flows)
			FROM netview.day_heartbeats AS d INNER JOIN netview.beats AS b ON d.sensor_id = b.sensor_id AND d.heartbeat = b.heartbeat`,
		"OPTIMIZE TABLE netview.heartbeats FINAL",
		"DROP TABLE netview.day_events", "DROP TABLE netview.day_heartbeats", "DROP TABLE netview.made_heartbeats",
	} {
		if err := d.exec(ctx, "%s", statement); err != nil {
			return err
		}
	}
	return nil
}

// copy the first hour of the snapshots to one that is not whole.
func (d *day) copy(ctx context.Context, hour int) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_threads": 1, "max_insert_threads": 1,
		"optimize_on_insert": 0, "min_insert_block_size_rows": 8_000_000, "min_insert_block_size_bytes": 0}))
	partition := d.begin.Add(time.Duration(hour) * time.Hour).Format("'2006-01-02 15:04:05'")
	run, ctx := errgroup.WithContext(ctx)
	run.SetLimit(2)
	for table, started := range snapshots {
		run.Go(func() error {
			have, err := d.count(ctx, "SELECT count() FROM netview.snapshot_%s WHERE toStartOfHour(timestamp) = toDateTime(%s, 'UTC')", table, partition)
			if err != nil {
				return err
			}
			if want, err := d.count(ctx, "SELECT count() FROM netview.made_snapshot_%s", table); err != nil || have == want {
				return err
			}
			for _, statement := range []string{
				fmt.Sprintf("ALTER TABLE netview.snapshot_%s DROP PARTITION %s", table, partition),
				fmt.Sprintf(`INSERT INTO netview.snapshot_%[1]s WITH %[2]d AS later
					SELECT s.* REPLACE (timestamp + toIntervalMinute(later) AS timestamp, heartbeat + %[3]d AS heartbeat, s.sequence - b.in_made + b.before + b.events AS sequence%[5]s)
					FROM netview.made_snapshot_%[1]s AS s
					INNER JOIN (SELECT sensor_id, toUInt64(heartbeat - %[3]d) AS beat, in_made, before, events FROM netview.beats WHERE heartbeat > %[3]d AND heartbeat <= %[3]d + %[4]d) AS b
						ON s.sensor_id = b.sensor_id AND s.heartbeat = b.beat`, table, 60*hour, hour*beatsAnHour, beatsAnHour, started),
			} {
				if err := d.exec(ctx, "%s", statement); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return run.Wait()
}
