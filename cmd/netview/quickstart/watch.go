package quickstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/netview-project/netview/internal/fleet"
)

// watcher follows the heartbeats that ClickHouse has.
type watcher struct {
	conn     driver.Conn
	database string
	// began is ClickHouse's time when the watch began.
	began time.Time
	// shown are the heartbeats that were given, by identity.
	shown map[string]time.Time
	// losses are those last shown.
	losses map[string]uint64
}

// lookBack is how far a heartbeat may come out of order and still be seen.
const lookBack = 2 * time.Minute

func newWatcher(ctx context.Context, conn driver.Conn, database string) (*watcher, error) {
	w := &watcher{conn: conn, database: database, shown: map[string]time.Time{}, losses: map[string]uint64{}}
	return w, conn.QueryRow(ctx, "SELECT now64(3, 'UTC')").Scan(&w.began)
}

// beat is a heartbeat as ClickHouse has it.
type beat struct {
	Sensor      string            `ch:"sensor_id"`
	Identity    string            `ch:"identity"`
	At          time.Time         `ch:"timestamp"`
	Received    time.Time         `ch:"received"`
	Connections uint64            `ch:"connections"`
	TCP         uint64            `ch:"tcp_listeners"`
	UDP         uint64            `ch:"udp_listeners"`
	Namespaces  uint64            `ch:"namespaces"`
	Took        float64           `ch:"collect_secs"`
	Losses      map[string]uint64 `ch:"losses"`
	Rows        uint64            `ch:"rows"`
}

// next returns the heartbeats that were stored since the last call, without those of
// sensors that do not exist.
func (w *watcher) next(ctx context.Context) ([]beat, error) {
	since := w.began
	for identity, received := range w.shown {
		if w.newest().Sub(received) > lookBack {
			delete(w.shown, identity)
		}
	}
	if oldest := w.newest().Add(-lookBack); oldest.After(since) {
		since = oldest
	}
	var beats []beat
	// The rows are counted where they are stored: the line must show what
	// ClickHouse has, not what the sensor says that it sent.
	query := fmt.Sprintf(`
		SELECT sensor_id, concat(toString(session), ' ', toString(sequence)) AS identity, timestamp, received,
			connections, tcp_listeners, udp_listeners, namespaces, collect_secs, losses, rows
		FROM %[1]s.heartbeats AS h
		LEFT JOIN
		(
			SELECT session, heartbeat, uniqExact(sequence) AS rows
			FROM (SELECT sensor_id, session, heartbeat, sequence, received FROM %[1]s.snapshot_connections UNION ALL SELECT sensor_id, session, heartbeat, sequence, received FROM %[1]s.snapshot_listeners)
			WHERE received >= {since:DateTime64(3, 'UTC')} - INTERVAL 10 MINUTE AND NOT startsWith(sensor_id, '%[2]s')
			GROUP BY session, heartbeat
		) AS r USING (session, heartbeat)
		WHERE received >= {since:DateTime64(3, 'UTC')} AND NOT startsWith(sensor_id, '%[2]s')
		ORDER BY timestamp
		LIMIT 1 BY session, sequence`, w.database, fleet.Prefix)
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"since": since.UTC().Format("2006-01-02 15:04:05.000")}))
	if err := w.conn.Select(ctx, &beats, query); err != nil {
		return nil, err
	}
	beats = slices.DeleteFunc(beats, func(b beat) bool {
		_, known := w.shown[b.Identity]
		w.shown[b.Identity] = b.Received
		return known
	})
	return beats, nil
}

// newest is when the newest heartbeat that was shown was stored.
func (w *watcher) newest() time.Time {
	newest := w.began
	for _, received := range w.shown {
		if received.After(newest) {
			newest = received
		}
	}
	return newest
}

var errNone = errors.New("no complete heartbeat is stored yet")

// first waits for nothing: it returns [errNone] until there is a heartbeat.
func (w *watcher) first(ctx context.Context) ([]beat, error) {
	beats, err := w.next(ctx)
	if err == nil && len(beats) == 0 {
		err = errNone
	}
	return beats, err
}

// print writes a line for each heartbeat, and what has been lost since the last.
func (w *watcher) print(out io.Writer, beats []beat) {
	for _, b := range beats {
		fmt.Fprintf(out, "%s  %s  connections %d  listeners tcp %d udp %d  namespaces %d  rows stored %d  collected in %.0f ms%s\n",
			b.At.Local().Format("15:04:05"), b.Sensor, b.Connections, b.TCP, b.UDP, b.Namespaces, b.Rows, b.Took*1000, w.lost(b))
	}
}

// lost names the counters that have risen since the last line.
func (w *watcher) lost(b beat) string {
	var text strings.Builder
	for _, cause := range slices.Sorted(maps.Keys(b.Losses)) {
		if n := b.Losses[cause]; n > w.losses[b.Sensor+cause] {
			fmt.Fprintf(&text, "  %s +%d", cause, n-w.losses[b.Sensor+cause])
		}
		w.losses[b.Sensor+cause] = b.Losses[cause]
	}
	return text.String()
}
