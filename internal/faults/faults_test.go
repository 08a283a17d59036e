// Package faults breaks netview in every way it knows while records of known
// identity are on their way, and counts afterwards.
package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(asSensor); text != "" {
		if err := beSensor(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testch.Main(m)
}

// TestFaults runs for NETVIEW_FAULTS_DURATION (30 s), with the faults that follow
// from NETVIEW_FAULTS_SEED, which is printed.
func TestFaults(t *testing.T) {
	duration, seed := settings(t)
	w := newWorld(t, rand.New(rand.NewPCG(seed, 0)), netviewRoad, 3, 1000)
	w.suffer(duration)
	w.settle()
	w.judge()
	t.Logf("peak memory in MB: %v", w.peak)
}

// settings are how long a run of faults takes, and from what they follow.
func settings(t testing.TB) (duration time.Duration, seed uint64) {
	t.Helper()
	duration, seed = 30*time.Second, uint64(time.Now().UnixNano())
	var err error
	if text := os.Getenv("NETVIEW_FAULTS_DURATION"); text != "" {
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("NETVIEW_FAULTS_DURATION: %v", err)
		}
	}
	if text := os.Getenv("NETVIEW_FAULTS_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("NETVIEW_FAULTS_SEED: %v", err)
		}
	}
	t.Logf("NETVIEW_FAULTS_SEED=%d NETVIEW_FAULTS_DURATION=%v", seed, duration)
	return duration, seed
}

// suffer lets one fault after the other happen.
func (w *world) suffer(duration time.Duration) {
	names := slices.Sorted(maps.Keys(w.faults()))
	for end := time.Now().Add(duration); time.Now().Before(end); {
		// Each fault comes as often as any other, in an order of its own.
		for _, i := range w.random.Perm(len(names)) {
			if time.Now().After(end) {
				break
			}
			w.happened[names[i]]++
			w.faults()[names[i]]()
			w.pause(time.Second)
		}
	}
	w.t.Logf("faults: %v, connections cut: %d", w.happened, w.balancer.cuts)
}

// world is everything that can break.
type world struct {
	t          testing.TB
	random     *rand.Rand
	dir        string
	road       road
	clickhouse *testch.Server
	balancer   *balancer
	collectors []*collector
	sensors    []*sensor
	happened   map[string]int
	// peak memory of any process of a name, in MB, as far as it was looked at:
	// before each kill, and at the end.
	peak map[string]float64
}

// The names under which memory is remembered.
const (
	aSensor     = "sensor"
	aCollector  = "collector"
	aClickHouse = "ClickHouse"
)

type collector struct {
	*testbin.Program
	endpoint string
}

// sensor is a process of this test's own binary; see beSensor.
type sensor struct {
	orders orders
	// disk is where its spool lies when it has a disk of its own.
	disk    string
	command *exec.Cmd
	input   io.WriteCloser
}

// newWorld starts ClickHouse, two collectors behind a balancer, and sensors, the
// first of them on a small disk of its own.
func newWorld(t testing.TB, random *rand.Rand, road road, sensors, eventsPerSecond int) *world {
	w := &world{t: t, random: random, dir: t.TempDir(), road: road, clickhouse: testch.Start(t), happened: map[string]int{}, peak: map[string]float64{}}
	w.balancer = startBalancer(t, rand.New(rand.NewPCG(random.Uint64(), 1)))
	for i := range 2 {
		w.collectors = append(w.collectors, road.start(w, i))
	}
	w.retarget()
	for i := range sensors {
		name := fmt.Sprintf("faults-%d", i)
		s := &sensor{orders: orders{SensorID: name, Endpoint: "grpc://" + w.balancer.address, Spool: filepath.Join(w.dir, name),
			Ledger: filepath.Join(w.dir, name+".ledger"), EventsPerSecond: eventsPerSecond}}
		if i == 0 {
			s.disk = filepath.Join(w.dir, "disk")
			w.mount(s.disk)
			s.orders.Spool = filepath.Join(s.disk, "spool")
		}
		w.sensors = append(w.sensors, s)
		w.startSensor(s)
	}
	t.Cleanup(func() {
		for _, s := range w.sensors {
			_ = s.command.Process.Kill()
			_ = s.command.Wait()
		}
	})
	return w
}

// mount makes a small disk; where that is not permitted the sensor shares the
// disk of the others, and nothing fills it.
func (w *world) mount(dir string) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := unix.Mount("netview-test", dir, "tmpfs", 0, "size=16m"); err != nil {
		w.t.Logf("no small disk: %v", err)
		return
	}
	w.t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) retarget() {
	var targets []string
	for _, c := range w.collectors {
		targets = append(targets, c.endpoint)
	}
	w.balancer.setTargets(targets...)
}

func (w *world) startSensor(s *sensor) {
	w.t.Helper()
	text, err := json.Marshal(s.orders)
	if err != nil {
		w.t.Fatal(err)
	}
	s.command = exec.Command(os.Args[0])
	s.command.Env = append(os.Environ(), asSensor+"="+string(text))
	log, err := os.OpenFile(filepath.Join(w.dir, s.orders.SensorID+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	s.command.Stdout, s.command.Stderr = log, log
	if s.input, err = s.command.StdinPipe(); err != nil {
		w.t.Fatal(err)
	}
	if err := s.command.Start(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pause(most time.Duration) { time.Sleep(time.Duration(w.random.Int64N(int64(most)))) }

func (w *world) signal(pid int, signals ...syscall.Signal) {
	for _, s := range signals {
		_ = syscall.Kill(pid, s) // what has ended by itself is found in the end
	}
}

// stopped lets a process stand still for a while.
func (w *world) stopped(pid int, most time.Duration) {
	w.signal(pid, syscall.SIGSTOP)
	w.pause(most)
	w.signal(pid, syscall.SIGCONT)
}

func (w *world) anySensor() *sensor        { return w.sensors[w.random.IntN(len(w.sensors))] }
func (w *world) anyCollector() int         { return w.random.IntN(len(w.collectors)) }
func (w *world) order(s *sensor, o string) { _, _ = io.WriteString(s.input, o+"\n") }

func (w *world) kill(name string, command *exec.Cmd) {
	w.weigh(name, command.Process.Pid)
	_ = command.Process.Kill()
	_ = command.Wait()
}

func (w *world) weigh(name string, pid int) { w.peak[name] = max(w.peak[name], peakMemory(w.t, pid)) }

func (w *world) killSensor() {
	s := w.anySensor()
	w.kill(aSensor, s.command)
	w.pause(time.Second)
	w.startSensor(s)
}

// replaceCollector kills one; another takes over, on another address.
func (w *world) replaceCollector() {
	i := w.anyCollector()
	w.kill(aCollector, w.collectors[i].Command)
	w.pause(time.Second)
	w.collectors[i] = w.road.start(w, i)
	w.retarget()
}

func (w *world) killClickHouse() {
	w.downClickHouse()
	w.pause(2 * time.Second)
	w.clickhouse.Restart()
}

func (w *world) downClickHouse() {
	w.weigh(aClickHouse, w.clickhouse.PID())
	w.clickhouse.Kill()
}

// faults by name. Each is over when it returns, but for what it leaves to heal.
func (w *world) faults() map[string]func() {
	faults := map[string]func(){
		"sensor killed":      w.killSensor,
		"sensor stopped":     func() { w.stopped(w.anySensor().command.Process.Pid, 2*time.Second) },
		"collector replaced": w.replaceCollector,
		"collector stopped":  func() { w.stopped(w.collectors[w.anyCollector()].Command.Process.Pid, 3*time.Second) },
		"ClickHouse killed":  w.killClickHouse,
		"ClickHouse stopped": func() { w.stopped(w.clickhouse.PID(), 3*time.Second) },
		"connections cut":    w.balancer.cut,
		"requests cut": func() {
			w.balancer.setCutAfter(64 << 10)
			w.balancer.cut()
			w.pause(3 * time.Second)
			w.balancer.setCutAfter(0)
		},
		"clock jumps": func() {
			s := w.anySensor()
			wrong := time.Duration(w.random.Int64N(int64(2*time.Hour))) - time.Hour
			w.order(s, orderClock+wrong.String())
		},
		"everything killed": func() {
			w.downClickHouse()
			for _, c := range w.collectors {
				w.kill(aCollector, c.Command)
			}
			w.killSensor()
			w.clickhouse.Restart()
			for i := range w.collectors {
				w.collectors[i] = w.road.start(w, i)
			}
			w.retarget()
		},
	}
	if disk := w.sensors[0].disk; w.isMount(disk) {
		faults["disk full"] = func() {
			ballast := filepath.Join(disk, "ballast")
			w.downClickHouse() // so that something has to be kept
			_ = os.WriteFile(ballast, make([]byte, 16<<20), 0o600)
			w.pause(3 * time.Second)
			w.clickhouse.Restart()
			w.pause(2 * time.Second)
			_ = os.Remove(ballast)
		}
	}
	return faults
}

func (w *world) isMount(dir string) bool {
	var of, above unix.Stat_t
	return unix.Stat(dir, &of) == nil && unix.Stat(w.dir, &above) == nil && of.Dev != above.Dev
}

// settle lets everything heal, and waits until every spool is empty.
func (w *world) settle() {
	w.t.Helper()
	for _, s := range w.sensors {
		w.weigh(aSensor, s.command.Process.Pid)
		w.order(s, orderFinish)
	}
	for _, s := range w.sensors {
		ended := make(chan error, 1)
		go func() { ended <- s.command.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("%s: %v\n%s", s.orders.SensorID, err, w.said(s))
			}
		case <-time.After(3 * time.Minute):
			w.t.Fatalf("%s does not come to its end:\n%s", s.orders.SensorID, w.said(s))
		}
	}
	for _, c := range w.collectors {
		w.weigh(aCollector, c.Command.Process.Pid)
	}
	w.weigh(aClickHouse, w.clickhouse.PID())
}

func (w *world) said(s *sensor) string {
	text, _ := os.ReadFile(filepath.Join(w.dir, s.orders.SensorID+".log"))
	return string(text[max(0, len(text)-4000):])
}

// mayLose are the causes that take records although nothing is broken for good:
// on a disk that was full, and a snapshot that newer ones took the place of.
var mayLose = []string{"snapshot_superseded", "spool_full", "spool_memory_full", "unclean_end"}

// judge compares what was made with what is stored and what is told to be lost.
func (w *world) judge() {
	w.t.Helper()
	sessions := w.ledgers()
	const stored = `(SELECT session, sequence FROM netview.events UNION ALL SELECT session, sequence FROM netview.snapshot_connections
		UNION ALL SELECT session, sequence FROM netview.heartbeats UNION ALL SELECT session, sequence FROM netview.gaps UNION ALL SELECT session, sequence FROM netview.quarantine)`
	var made, there, lost uint64
	for session, l := range sessions {
		n, s := l.last, l.sensor
		var have, superseded, gone, unexplained, highest, end uint64
		w.row(fmt.Sprintf("SELECT uniqExact(sequence) FROM %s WHERE session = '%s' AND sequence <= %d", stored, session, n), &have)
		w.row(fmt.Sprintf("SELECT max(gone), max(unexplained), max(highest_sequence) FROM netview.reconciliation(sensor_id = '', since = now64(3, 'UTC') - INTERVAL 1 DAY) WHERE session = '%s'", session),
			&gone, &unexplained, &highest)
		w.row(fmt.Sprintf("SELECT sumIf(records, cause = 'snapshot_superseded'), countIf(gap_last = 0) FROM netview.gaps FINAL WHERE gap_session = '%s'", session), &superseded, &end)
		if n > highest && end > 0 {
			gone += n - highest
		}
		made, there, lost = made+n, there+have, lost+gone
		w.t.Logf("%s %s: %d appended, %d stored, %d told to be gone, %d of them superseded", s.orders.SensorID, session, n, have, gone, superseded)
		if unexplained != 0 || have+gone < n {
			w.t.Errorf("session %s of %s: %d neither stored nor told to be gone, %d unexplained up to %d\n%s", session, s.orders.SensorID, n-have-gone, unexplained, highest, w.said(s))
		}
		if s.disk == "" && gone > superseded {
			w.t.Errorf("session %s of %s lost %d records, and its disk was never full\n%s", session, s.orders.SensorID, gone-superseded, w.said(s))
		}
	}
	w.t.Logf("%d sessions, %d records made, %d of them stored, %d told to be gone", len(sessions), made, there, lost)

	var causes []string
	w.row("SELECT groupArray(concat(cause, ' ', toString(n))) FROM (SELECT cause, sum(records) AS n FROM netview.gaps FINAL GROUP BY cause ORDER BY cause)", &causes)
	w.t.Logf("gap records: %v", causes)
	for _, line := range causes {
		if cause, _, _ := strings.Cut(line, " "); !slices.Contains(mayLose, cause) {
			w.t.Errorf("lost by a cause that must not lose: %s", line)
		}
	}
	var rows, distinct, once, flows uint64
	w.row("SELECT count(), uniqExact(session, sequence), uniqExact(session, bytes_sent) FROM netview.events", &rows, &distinct, &flows)
	w.row("SELECT count() FROM netview.events FINAL", &once)
	if once != distinct || flows != distinct {
		w.t.Errorf("events: %d after merging, %d identities, %d that were made", once, distinct, flows)
	}
	w.t.Logf("events: %d rows, %d after merging", rows, once)
	var beats, broken, twice uint64
	w.row(`SELECT count(), countIf(h.connections != c.n) FROM netview.heartbeats AS h FINAL
		LEFT JOIN (SELECT session, heartbeat, uniqExact(sequence) AS n FROM netview.snapshot_connections GROUP BY session, heartbeat) AS c USING (session, heartbeat)`, &beats, &broken)
	w.row(`SELECT count() FROM (SELECT session, sequence FROM netview.connections(sensor_id = '', at = now64(3, 'UTC'), page = 1, page_size = 500) GROUP BY session, sequence HAVING count() > 1)`, &twice)
	if beats == 0 || broken != 0 || twice != 0 {
		w.t.Errorf("%d heartbeats, %d without all of their rows; %d connections twice in the view", beats, broken, twice)
	}
}

// ledger is what was made in a session.
type ledger struct {
	sensor *sensor
	// last number whose append returned, and how many events had been made by then.
	last, events uint64
}

// ledgers by session.
func (w *world) ledgers() map[string]ledger {
	w.t.Helper()
	sessions := map[string]ledger{}
	for _, s := range w.sensors {
		file, err := os.Open(s.orders.Ledger)
		if err != nil {
			w.t.Fatal(err)
		}
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			var session string
			l := ledger{sensor: s}
			if _, err := fmt.Sscan(lines.Text(), &session, &l.last, &l.events); err != nil {
				w.t.Fatalf("ledger: %q: %v", lines.Text(), err)
			}
			sessions[session] = l
		}
	}
	return sessions
}

func (w *world) row(query string, into ...any) {
	w.t.Helper()
	conn, err := clickhouse.Open(w.clickhouse.DSN(engine.Reader))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.QueryRow(w.t.Context(), query).Scan(into...); err != nil {
		w.t.Fatalf("%v\n%s", err, query)
	}
}

// BenchmarkEventToRow measures the time from an event to its row: the batch that
// gathers events for 50 ms, the spool, the collector, the commit. ClickHouse's
// clock is that of the sensor here; `received` is when the insert began.
func BenchmarkEventToRow(b *testing.B) {
	for _, rate := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d_per_s", rate), func(b *testing.B) {
			w := newWorld(b, rand.New(rand.NewPCG(1, 0)), netviewRoad, 1, rate)
			time.Sleep(15 * time.Second)
			w.settle()
			// Not the first seconds, in which everything starts.
			var p50, p99, most float64
			var rows uint64
			w.row(`SELECT quantileExact(0.5)(ms), quantileExact(0.99)(ms), max(ms), count() FROM
				(SELECT dateDiff('microsecond', timestamp, received) / 1000 AS ms FROM netview.events WHERE timestamp > (SELECT min(timestamp) + INTERVAL 5 SECOND FROM netview.events))`, &p50, &p99, &most, &rows)
			b.ReportMetric(p50, "p50-ms")
			b.ReportMetric(p99, "p99-ms")
			b.ReportMetric(most, "max-ms")
			b.ReportMetric(float64(rows)/10, "rows/s")
		})
	}
}

// BenchmarkOutage: ClickHouse is away for NETVIEW_OUTAGE (20 s) at 1,000 events a
// second. It shows how long catching up takes while events go on, and the most
// memory that the sensor and the collectors took.
func BenchmarkOutage(b *testing.B) {
	outage := 20 * time.Second
	if text := os.Getenv("NETVIEW_OUTAGE"); text != "" {
		var err error
		if outage, err = time.ParseDuration(text); err != nil {
			b.Fatalf("NETVIEW_OUTAGE: %v", err)
		}
	}
	w := newWorld(b, rand.New(rand.NewPCG(1, 0)), netviewRoad, 2, 1000)
	// The disk of the first is too small for a long outage.
	_ = w.sensors[0].command.Process.Kill()
	_ = w.sensors[0].command.Wait()
	w.sensors = w.sensors[1:]
	time.Sleep(5 * time.Second)
	w.clickhouse.Kill()
	time.Sleep(outage)
	w.clickhouse.Restart()
	back := time.Now()
	var behind float64
	for behind = 1000; behind > 2; time.Sleep(100 * time.Millisecond) {
		if time.Since(back) > 10*time.Minute {
			b.Fatalf("%f s behind after ten minutes", behind)
		}
		w.row("SELECT dateDiff('millisecond', max(timestamp), now64(3, 'UTC')) / 1000 FROM netview.events", &behind)
	}
	b.ReportMetric(time.Since(back).Seconds(), "s-to-catch-up")
	w.settle()
	for name, megabytes := range w.peak {
		b.ReportMetric(megabytes, name+"-MB")
	}
	tally := w.tally(netviewRoad)
	b.ReportMetric(float64(tally.made), "events")
	b.ReportMetric(float64(tally.made-tally.stored), "events-lost")
	var superseded, unexplained uint64
	w.row("SELECT sum(gone), sum(unexplained) FROM netview.reconciliation(sensor_id = 'faults-1', since = now64(3, 'UTC') - INTERVAL 1 DAY)", &superseded, &unexplained)
	b.ReportMetric(float64(superseded), "rows-superseded")
	b.ReportMetric(float64(unexplained), "unexplained")
}

// peakMemory of a process, in MB; 0 of one that has ended by itself.
func peakMemory(t testing.TB, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, runs := strings.Cut(string(text), "VmHWM:")
	if !runs {
		return 0
	}
	kB, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kB / 1000
}
