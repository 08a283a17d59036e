package clickhouse

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/internal/testevent"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// fleet writes the snapshots of several sensors, as they would arrive.
type fleet struct {
	t     *testing.T
	store *watched
	now   time.Time
	next  map[uuid.UUID]uint64 // sequence by session
}

// snapshot stores connections, one for each local port, taken age ago; without
// complete the heartbeat that would close it never came.
func (f *fleet) snapshot(sensor string, session uuid.UUID, heartbeat uint64, age time.Duration, complete bool, ports ...uint16) []event.Event {
	envelope := func() event.Envelope {
		f.next[session]++
		return event.Envelope{Resource: event.Resource{SensorID: sensor, Session: session, HostName: "host-" + sensor},
			Sequence: f.next[session], Timestamp: f.now.Add(-age)}
	}
	var events []event.Event
	for _, port := range ports {
		events = append(events, &event.Connection{Envelope: envelope(), Heartbeat: heartbeat, Netns: 4026531840, Family: "ipv4",
			LocalAddress: netip.MustParseAddr("192.0.2.1"), LocalPort: port, RemoteAddress: netip.MustParseAddr("2001:db8::1"), RemotePort: 443,
			State: "established", Direction: event.DirectionUnknown, Inode: uint64(port)})
	}
	if complete {
		events = append(events, &event.Heartbeat{Envelope: envelope(), Heartbeat: heartbeat, Connections: uint64(len(ports)),
			Mode: event.ModeCompatibility, Interval: 15 * time.Second})
	}
	f.store.commit(f.t, events...)
	return events
}

func newFleet(t *testing.T, ch *testch.Server) *fleet {
	return &fleet{t: t, store: startReady(t, ch), now: time.Now().UTC().Truncate(time.Millisecond), next: map[uuid.UUID]uint64{}}
}

// view is a call of a parameterized view; age is how long before now `at` lies.
func (f *fleet) view(name, sensor string, age time.Duration, page, size int) string {
	return fmt.Sprintf("netview.%s(sensor_id = '%s', at = toDateTime64('%s', 3, 'UTC'), page = %d, page_size = %d)",
		name, sensor, f.now.Add(-age).Format("2006-01-02 15:04:05.000"), page, size)
}

func TestConnectionsAtATime(t *testing.T) {
	ch := testch.Start(t)
	f := newFleet(t, ch)
	a, b, c, d1, d2, e, empty := uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.New()
	f.snapshot("a", a, 1, 20*time.Second, true, 1, 2, 3)
	twice := f.snapshot("a", a, 2, 5*time.Second, true, 2, 4)
	f.store.commit(t, twice...) // a retry whose first answer was lost
	f.snapshot("stale", b, 1, 2*time.Minute, true, 10)
	f.snapshot("offline", c, 1, 7*time.Minute, true, 20)
	f.snapshot("restarted", d1, 40, 30*time.Second, true, 30, 31)
	f.snapshot("restarted", d2, 1, 3*time.Second, true, 32)
	f.snapshot("broken-off", e, 7, 16*time.Second, true, 50)
	f.snapshot("broken-off", e, 8, time.Second, false, 51, 52)
	f.snapshot("empty", empty, 1, time.Second, true)
	reader := connect(t, ch, engine.Reader)
	tests := []struct {
		sensor string
		age    time.Duration // of `at`
		want   string        // sensor_id:local_port, + for stale
		total  string
	}{
		{"", 0, "a:2 a:4 broken-off:50 restarted:32 stale:10+", "4"},
		{"a", 0, "a:2 a:4", "2"},
		{"a", 6 * time.Second, "a:1 a:2 a:3", "3"},
		{"", 10 * time.Second, "a:1 a:2 a:3 broken-off:50 restarted:30 restarted:31 stale:10+", "6"},
		{"", 31 * time.Second, "stale:10", "1"},
		{"", 7 * time.Minute, "offline:20", "1"},
		{"offline", 0, "", ""},
		{"", time.Hour, "", ""},
		{"nobody", 0, "", ""},
		{"empty", 0, "", ""},
		{"' OR 1=1 --", 0, "", ""},
	}
	for _, tt := range tests {
		view := f.view("connections", strings.ReplaceAll(tt.sensor, "'", `\'`), tt.age, 1, 100)
		got := texts(t, reader, "SELECT concat(sensor_id, ':', toString(local_port), stale ? '+' : '') FROM "+view)
		slices.Sort(got)
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q at %v before now: %v, want %s", tt.sensor, tt.age, got, tt.want)
		}
		if total := texts(t, reader, "SELECT DISTINCT toString(total) FROM "+view); strings.Join(total, " ") != tt.total {
			t.Errorf("%q at %v before now: total %v, want %s", tt.sensor, tt.age, total, tt.total)
		}
	}
}

func TestPagesAreWholeAndDisjoint(t *testing.T) {
	ch := testch.Start(t)
	f := newFleet(t, ch)
	var want []string
	for _, sensor := range []string{"a", "b", "c"} {
		ports := make([]uint16, 200)
		for i := range ports {
			ports[i] = uint16(i + 1)
			want = append(want, fmt.Sprintf("%s:%d", sensor, i+1))
		}
		f.snapshot(sensor, uuid.New(), 1, 10*time.Second, true, ports...)
	}
	slices.Sort(want)
	reader := connect(t, ch, engine.Reader)
	const row = "SELECT concat(sensor_id, ':', toString(local_port)) FROM "
	for _, size := range []int{7, 100, 200, 499, 500} {
		pages := (len(want) + size - 1) / size
		var got []string
		for page := 1; page <= pages; page++ {
			got = append(got, texts(t, reader, row+f.view("connections", "", 0, page, size))...)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%d pages of %d hold %d rows, want each of the %d once", pages, size, len(got), len(want))
		}
		last := texts(t, reader, row+f.view("connections", "", 0, pages, size))
		if past := texts(t, reader, row+f.view("connections", "", 0, pages+9, size)); !slices.Equal(past, last) {
			t.Errorf("a page past the end of pages of %d has %d rows, want the %d of the last", size, len(past), len(last))
		}
	}
	const numbers = "SELECT concat(toString(total), ' ', toString(page_count), ' ', toString(current_page), ' ', toString(page_size)) FROM "
	for call, want := range map[string]string{
		f.view("connections_pager", "", 0, 2, 100):             "600 6 2 100",
		f.view("connections_pager", "", 0, 99, 100):            "600 6 6 100",
		f.view("connections_pager", "b", 0, 1, 500):            "200 1 1 500",
		f.view("connections_pager", "nobody", 0, 3, 50):        "0 0 0 50",
		f.view("connections_pager", "", -3*time.Minute, 1, 50): "0 12 1 50", // all are stale by then
	} {
		if got := texts(t, reader, numbers+call); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, want %s", call, got, want)
		}
	}
	if got := texts(t, reader, "SELECT DISTINCT concat(toString(total), ' ', toString(page_count), ' ', toString(current_page), ' ', toString(page_size)) FROM "+f.view("connections", "", 0, 2, 100)); !slices.Equal(got, []string{"600 6 2 100"}) {
		t.Errorf("the rows of a page say %v", got)
	}
}

func TestPagesOutOfRangeAreRefused(t *testing.T) {
	ch := testch.Start(t)
	f := newFleet(t, ch)
	reader := connect(t, ch, engine.Reader)
	for _, filled := range []bool{false, true} { // refused on empty data too
		if filled {
			f.snapshot("a", uuid.New(), 1, time.Second, true, 1, 2)
		}
		for _, view := range []string{"connections", "connections_pager"} {
			for _, bad := range []struct {
				page, size int
				want       string
			}{
				{0, 10, "page must be 1 or more"}, {-1, 10, "page must be 1 or more"},
				{1, 0, "page_size must be 1 to 500"}, {1, 501, "page_size must be 1 to 500"}, {1, -5, "page_size must be 1 to 500"},
			} {
				rows, err := tryTexts(reader, "SELECT toString(page_count) FROM "+f.view(view, "", 0, bad.page, bad.size))
				if err == nil || !strings.Contains(err.Error(), bad.want) {
					t.Errorf("%s page %d of %d (data: %t): %v %v, want the error %q", view, bad.page, bad.size, filled, rows, err, bad.want)
				}
			}
		}
	}
}

// TestViewColumns: what people type is there, in the form they expect.
func TestViewColumns(t *testing.T) {
	ch := testch.Start(t)
	f := newFleet(t, ch)
	f.snapshot("a", uuid.New(), 1, time.Second, true, 80)
	got := texts(t, connect(t, ch, engine.Reader), `SELECT concat(sensor_id, ' ', assumeNotNull(host_name), ' ', local_address, ' ', toString(local_port), ' ',
		remote_address, ' ', toString(remote_port), ' ', state, ' ', toString(netns), ' ',
		toString(isNull(pid) AND isNull(binary) AND isNull(user) AND isNull(container_id) AND isNull(duration_secs) AND isNull(remote_name)))
		FROM `+f.view("connections", "", 0, 1, 1))
	if want := "a host-a 192.0.2.1 80 2001:db8::1 443 established 4026531840 1"; len(got) != 1 || got[0] != want {
		t.Errorf("row %q, want %q", got, want)
	}
}

// TestReconciliation: each number that is missing is found, whatever the table,
// and only one that a gap record names is explained.
func TestReconciliation(t *testing.T) {
	ch := testch.Start(t)
	store := startReady(t, ch)
	now := time.Now().UTC().Truncate(time.Millisecond)
	envelope := func(sensor string, session uuid.UUID, sequence uint64, age time.Duration) event.Envelope {
		return event.Envelope{Resource: event.Resource{SensorID: sensor, Session: session}, Sequence: sequence, Timestamp: now.Add(-age)}
	}
	flow := func(sensor string, session uuid.UUID, sequence uint64, age time.Duration) event.Event {
		f := testevent.Filled(t, event.KindNetworkFlow)
		*f.Env() = envelope(sensor, session, sequence, age)
		return f
	}
	heartbeat := func(sensor string, session uuid.UUID, sequence uint64, age, uptime time.Duration) event.Event {
		return &event.Heartbeat{Envelope: envelope(sensor, session, sequence, age), Heartbeat: 1, Uptime: uptime, Mode: event.ModeEBPF}
	}
	gap := func(sensor string, session, lost uuid.UUID, sequence, first, last uint64) event.Event {
		return &event.Gap{Envelope: envelope(sensor, session, sequence, time.Minute), OfSession: lost, First: first, Last: last, Cause: "spool_full", Records: last - min(first, last)}
	}
	whole, holes, explained, older, silent, ended, long := uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.New()
	connection := &event.Connection{Envelope: envelope("whole", whole, 2, time.Minute), LocalAddress: netip.IPv6Loopback(), RemoteAddress: netip.IPv6Loopback()}
	store.commit(t, flow("whole", whole, 1, time.Minute), connection, flow("whole", whole, 3, time.Minute), heartbeat("whole", whole, 4, time.Minute, time.Minute))
	store.commit(t, flow("whole", whole, 1, time.Minute)) // twice
	// 1 and 5 to 7 are missing.
	store.commit(t, flow("holes", holes, 2, time.Minute), heartbeat("holes", holes, 3, time.Minute, time.Minute), flow("holes", holes, 4, time.Minute), flow("holes", holes, 8, time.Minute))
	// 3 to 9 are gone, named twice; 10 is missing; and what an earlier session lost at its end.
	store.commit(t, flow("explained", explained, 1, time.Minute), heartbeat("explained", explained, 2, time.Minute, time.Minute), flow("explained", explained, 11, time.Minute),
		gap("explained", explained, explained, 12, 3, 7), gap("explained", explained, explained, 13, 5, 9), gap("explained", explained, silent, 14, 1, 20),
		// It ended without notice after 22, whatever that means: 21 is missing.
		gap("explained", explained, silent, 15, 22, 0))
	store.commit(t, flow("explained", silent, 24, time.Minute))
	// Began before the time that is looked at: 1 to 99 are not asked for.
	store.commit(t, flow("older", older, 90, 2*time.Hour), heartbeat("older", older, 100, 30*time.Minute, 3*time.Hour), flow("older", older, 101, time.Minute), flow("older", older, 103, time.Minute))
	// 104 began before the time that is looked at, and was told after the first heartbeat.
	store.commit(t, flow("older", older, 104, 62*time.Minute))
	// The same in a session of many records: of what is read a whole block of numbers is not asked for.
	store.commit(t, flow("long", long, 9, 61*time.Minute), heartbeat("long", long, 200_000, 30*time.Minute, 3*time.Hour), flow("long", long, 199_999, 31*time.Minute), flow("long", long, 200_001, time.Minute))
	// Ended before the time that is looked at: not asked for, though some of it is read.
	store.commit(t, heartbeat("ended", ended, 50, 65*time.Minute, 3*time.Hour), flow("ended", ended, 52, 61*time.Minute))

	got := texts(t, connect(t, ch, engine.Reader), fmt.Sprintf(`SELECT concat(sensor_id, ' ', toString(session), ' from ', toString(first_sequence), ' to ', toString(highest_sequence), ': ',
		toString(stored), ' stored, ', toString(gone), ' gone, ', toString(unexplained), ' unexplained')
		FROM netview.reconciliation(sensor_id = '', since = toDateTime64('%s', 3, 'UTC'))`, now.Add(-time.Hour).Format("2006-01-02 15:04:05.000")))
	want := []string{
		fmt.Sprintf("explained %v from 1 to 15: 7 stored, 7 gone, 1 unexplained", explained),
		fmt.Sprintf("explained %v from 1 to 24: 1 stored, 22 gone, 1 unexplained", silent),
		fmt.Sprintf("holes %v from 1 to 8: 4 stored, 0 gone, 4 unexplained", holes),
		fmt.Sprintf("long %v from 200001 to 200001: 1 stored, 0 gone, 0 unexplained", long),
		fmt.Sprintf("older %v from 101 to 104: 3 stored, 0 gone, 1 unexplained", older),
		fmt.Sprintf("whole %v from 1 to 4: 4 stored, 0 gone, 0 unexplained", whole),
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
