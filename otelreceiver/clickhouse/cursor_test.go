package clickhouse

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netview-project/netview/internal/testch"
)

// reading goes through a view, page by page.
type reading struct {
	view  string
	limit int
	// there are the rows that must come, each once, as SQL.
	there string
	// more may come: events that arrive meanwhile have a place in their order.
	more   bool
	cursor string
	got    []string
	done   bool
}

const identity = "concat(toString(session), ' ', toString(sequence))"

// next reads a page, unless the last one was the end.
func (r *reading) next(g *generated) {
	g.t.Helper()
	if r.done {
		return
	}
	page := texts(g.t, g.reader, "SELECT concat("+identity+", ' ', cursor) FROM "+g.call(r.view, "limit", fmt.Sprint(r.limit), "after", "'"+r.cursor+"'"))
	for _, row := range page {
		i := strings.LastIndexByte(row, ' ')
		r.got, r.cursor = append(r.got, row[:i]), row[i+1:]
	}
	r.done = len(page) < r.limit
}

// TestCursorsWhileRowsArrive reads all pages while older rows arrive again, newer
// heartbeats of before the time that is looked at come late, and parts are merged.
func TestCursorsWhileRowsArrive(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	g := generate(t, ch, 12, 30, 6, 20)
	g.at = g.at.Add(45 * time.Second) // after heartbeat 23
	readings := []*reading{{view: "events_after", limit: 301, there: "SELECT " + identity + " FROM netview.events FINAL", more: true}}
	for view, table := range map[string]string{"connections_after": "snapshot_connections", "listeners_after": "snapshot_listeners", "flows_after": "snapshot_flows"} {
		readings = append(readings, &reading{view: view, limit: 23, there: "SELECT " + identity + " FROM netview." + table + " FINAL WHERE heartbeat = 20"})
	}
	want := map[*reading][]string{}
	for _, r := range readings {
		want[r] = texts(t, g.reader, r.there)
		slices.Sort(want[r])
		if len(want[r]) < 3*r.limit {
			t.Fatalf("%s has %d rows, too few for pages", r.view, len(want[r]))
		}
		r.next(g)
	}
	finished := make(chan struct{})
	var inserts sync.WaitGroup
	inserts.Go(func() {
		for i := range 1_000_000 {
			select {
			case <-finished:
				return
			default:
			}
			g.insert(19, 20+i%4) // two that are there, and up to three that are not
			g.exec("OPTIMIZE TABLE netview.heartbeats FINAL")
			g.exec("OPTIMIZE TABLE netview.events FINAL")
		}
	})
	defer inserts.Wait()
	defer close(finished)
	for slices.ContainsFunc(readings, func(r *reading) bool { return !r.done }) {
		for _, r := range readings {
			r.next(g)
		}
	}
	for _, r := range readings {
		slices.Sort(r.got)
		once := slices.Compact(slices.Clone(r.got))
		missing := slices.DeleteFunc(slices.Clone(want[r]), func(row string) bool { _, found := slices.BinarySearch(once, row); return found })
		if len(once) != len(r.got) || len(missing) > 0 || !r.more && len(once) != len(want[r]) {
			t.Errorf("%s: %d rows came, %d of them twice; of the %d that were there %d did not", r.view, len(r.got), len(r.got)-len(once), len(want[r]), len(missing))
		}
	}
}

func TestBrokenCursors(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	g := generate(t, ch, 3, 5, 2, 2)
	cursors := map[string]string{}
	for _, view := range []string{"connections_after", "listeners_after", "flows_after", "events_after"} {
		rows := texts(t, g.reader, "SELECT cursor FROM "+g.call(view, "limit", "2"))
		cursors[view] = rows[1]
		if next := texts(t, g.reader, "SELECT cursor FROM "+g.call(view, "limit", "2", "after", "'"+rows[0]+"'")); next[0] != rows[1] {
			t.Errorf("%s: after the first of two rows comes %s, want the second, %s", view, next[0], rows[1])
		}
	}
	for view, cursor := range cursors {
		broken := map[string]string{
			"cut": cursor[:len(cursor)-3], "longer": cursor + "0", "no cursor": "next", "blank": " ", "quotes": `\' OR 1=1 --`, "another version": "2" + cursor[1:], "of separators": strings.Repeat("~", 7),
			"another place": strings.Replace(cursor, "~generated-", "~generated-z", 1), "of another view": cursors[map[bool]string{true: "events_after", false: "listeners_after"}[view != "events_after"]],
		}
		for name, text := range broken {
			_, err := tryTexts(g.reader, "SELECT cursor FROM "+g.call(view, "after", "'"+strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), "'", `\'`)+"'"))
			if err == nil || !strings.Contains(err.Error(), "the cursor "+text+" is damaged") {
				t.Errorf("%s, %s: %v, want an error that names %s", view, name, err, text)
			}
		}
		if _, err := tryTexts(g.reader, "SELECT cursor FROM "+g.call(view, "after", "'"+cursor+"'", "sensor_id", "'generated-x'")); err == nil || !strings.Contains(err.Error(), "sensor_id") {
			t.Errorf("%s with the cursor of the fleet for one sensor: %v", view, err)
		}
	}
	if _, err := tryTexts(g.reader, "SELECT cursor FROM "+g.call("events_after", "after", "'"+cursors["events_after"]+"'", "kind", "'network_flow'")); err == nil || !strings.Contains(err.Error(), "kind") {
		t.Errorf("events_after with the cursor of all kinds for one: %v", err)
	}
}

// TestCursorsUseTheKey: a page reads the part of a table that it shows, not what
// was on the pages before and not all that comes after.
func TestCursorsUseTheKey(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	g := generate(t, ch, 20, 10, 250, 60)
	for _, table := range []string{"events", "snapshot_connections"} {
		g.exec("OPTIMIZE TABLE netview.%s FINAL", table)
	}
	events := texts(t, g.reader, "SELECT toString(count()) FROM netview.events")[0]
	var all uint64
	if _, err := fmt.Sscan(events, &all); err != nil || all < 400_000 {
		t.Fatalf("%s events are too few to tell", events)
	}
	last := ""
	for range 6 {
		last = texts(t, g.reader, "SELECT cursor FROM (SELECT cursor FROM "+g.call("events_after", "limit", "10000", "after", "'"+last+"'")+" LIMIT 1 OFFSET 9999)")[0]
	}
	for name, cursor := range map[string]string{"first": "", "seventh": last} {
		if read := g.read("SELECT * FROM " + g.call("events_after", "limit", "100", "after", "'"+cursor+"'")); read > all/2 {
			t.Errorf("the %s page of 100 events reads %d rows of %d", name, read, all)
		}
	}
	if got := granules(t, g, "SELECT * FROM "+g.call("events_after", "limit", "100", "after", "'"+last+"'")); got[0] > got[1]-5 {
		t.Errorf("after 60000 events the key leaves %d of %d granules", got[0], got[1])
	}
}

// granules that the primary key leaves of a table, and of how many.
func granules(t *testing.T, g *generated, query string) (kept [2]int) {
	t.Helper()
	plan := texts(t, g.owner, "EXPLAIN indexes = 1 "+query)
	i := slices.IndexFunc(plan, func(line string) bool { return strings.Contains(line, "PrimaryKey") })
	for _, line := range plan[max(i, 0):] {
		if _, counts, found := strings.Cut(line, "Granules: "); found {
			if _, err := fmt.Sscanf(counts, "%d/%d", &kept[0], &kept[1]); err != nil {
				t.Fatal(err)
			}
			return kept
		}
	}
	t.Fatalf("the plan uses no key:\n%s", strings.Join(plan, "\n"))
	return kept
}
