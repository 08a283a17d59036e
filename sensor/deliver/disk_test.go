package deliver

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/plog"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
)

// account is what a collector took: how often each number came, by session, and
// what gap records told.
type account struct {
	came map[uuid.UUID]map[uint64]int
	gaps []*event.Gap
}

func (c *collector) account(t *testing.T) account {
	t.Helper()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	a := account{came: map[uuid.UUID]map[uint64]int{}}
	for _, logs := range c.accepted {
		body, err := new(plog.ProtoMarshaler).MarshalLogs(logs)
		if err != nil {
			t.Fatal(err)
		}
		err = event.NewDecoder().Decode(body, func(record event.Record) {
			if record.Err != nil {
				t.Fatal(record.Err)
			}
			env := record.Event.Env()
			if a.came[env.Session] == nil {
				a.came[env.Session] = map[uint64]int{}
			}
			a.came[env.Session][env.Sequence]++
			if gap, is := record.Event.(*event.Gap); is {
				a.gaps = append(a.gaps, gap)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// unexplained are the numbers of a session, up to the highest, that neither came
// nor are told of.
func (a *account) unexplained(session uuid.UUID, highest uint64) (missing ranges) {
	for n := uint64(1); n <= highest; n++ {
		told := slices.ContainsFunc(a.gaps, func(g *event.Gap) bool {
			return g.OfSession == session && g.First <= n && (n <= g.Last || g.Last == 0)
		})
		if a.came[session][n] == 0 && !told {
			missing.add(n, n)
		}
	}
	return missing
}

// causes counts the records that gaps tell of.
func (a *account) causes() map[string]uint64 {
	causes := map[string]uint64{}
	for _, g := range a.gaps {
		causes[g.Cause] += g.Records
	}
	return causes
}

// nobody is an address where no collector listens.
func nobody(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// deliverAll starts a collector and a spool of a new session, and waits until
// the spool is empty.
func deliverAll(t *testing.T, o Options) (*collector, *Spool) {
	t.Helper()
	c := startCollector(t, "grpc", "")
	next := options(t, c.endpoint)
	o.Client, o.Resource.Session = next.Client, uuid.New()
	s := open(t, o)
	run(t, s)
	eventually(t, "everything delivered", s.empty)
	return c, s
}

func (s *Spool) empty() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	undone := slices.ContainsFunc(s.events.parts, func(p *part) bool { return p.done < p.entries })
	return !undone && len(s.snapshots.held()) == 0
}

func TestRestart(t *testing.T) {
	o := options(t, "grpc://"+nobody(t))
	s := open(t, o)
	stop := run(t, s)
	for range 10 {
		s.AppendEvents(flows(100))
	}
	s.AppendSnapshot(snapshot(1, 5))
	stop()
	c, next := deliverAll(t, o)
	a := c.account(t)
	if missing := a.unexplained(session, 1006); len(missing) != 0 || len(a.gaps) != 0 || len(a.came[session]) != 1006 {
		t.Errorf("missing %v, gaps %v, %d records", missing, a.gaps, len(a.came[session]))
	}
	for number, times := range a.came[session] {
		if times != 1 {
			t.Errorf("number %d came %d times", number, times)
		}
	}
	if sumLosses(next.Status()) != 0 {
		t.Errorf("losses %v", losses(next))
	}
}

// TestAcknowledgedIsNotSentAgain after an end in good order.
func TestAcknowledgedIsNotSentAgain(t *testing.T) {
	c := startCollector(t, "grpc", "")
	o := options(t, c.endpoint)
	s := open(t, o)
	stop := run(t, s)
	s.AppendEvents(flows(10))
	s.AppendSnapshot(snapshot(1, 5))
	eventually(t, "everything delivered", s.empty)
	stop()
	next, _ := deliverAll(t, o)
	if a := next.account(t); len(a.came) != 0 {
		t.Errorf("sent again: %v", a.came)
	}
	if files, _ := filepath.Glob(filepath.Join(o.Dir, snapshotsDir, "*")); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

// asChild makes the test binary a sensor that appends until it is killed, and
// says how far it has come.
const asChild = "NETVIEW_TEST_SPOOL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asChild); dir != "" {
		o := DefaultOptions()
		client, err := NewClient(os.Getenv(asChild+"_ENDPOINT"), Security{})
		if err == nil {
			o.Client, o.Dir, o.Resource = client, dir, event.Resource{SensorID: "s", Session: session}
			o.Log = discard
			var s *Spool
			if s, err = Open(o); err == nil {
				go s.Run(context.Background())
				for number := uint64(1); ; number++ {
					s.AppendEvents(flows(7))
					fmt.Println(number * 7) // returned
				}
			}
		}
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestKilled: what was appended before a kill -9 arrives, with or without a
// collector at that time, and the end is told.
func TestKilled(t *testing.T) {
	for name, reachable := range map[string]bool{"without a collector": false, "while it sends": true} {
		t.Run(name, func(t *testing.T) {
			o := options(t, "grpc://"+nobody(t))
			endpoint, accounts := "grpc://"+nobody(t), []*collector{}
			if reachable {
				c := startCollector(t, "grpc", "")
				endpoint, accounts = c.endpoint, append(accounts, c)
			}
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), asChild+"="+o.Dir, asChild+"_ENDPOINT="+endpoint, "NETVIEW_TEST_SESSION="+session.String())
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			returned := uint64(0)
			for lines := bufio.NewScanner(out); lines.Scan(); {
				n, err := strconv.ParseUint(lines.Text(), 10, 64)
				if err != nil {
					t.Fatal(lines.Text())
				}
				if returned = n; returned >= 7000 {
					_ = child.Process.Kill() // and read on: it may have appended more
				}
			}
			_ = child.Wait()
			c, _ := deliverAll(t, o)
			a := c.account(t)
			for _, earlier := range accounts {
				other := earlier.account(t)
				for number, times := range other.came[session] {
					if a.came[session] == nil {
						a.came[session] = map[uint64]int{}
					}
					a.came[session][number] += times
				}
			}
			end := slices.IndexFunc(a.gaps, func(g *event.Gap) bool { return g.Cause == CauseUncleanEnd && g.OfSession == session })
			if end < 0 || a.gaps[end].First <= returned {
				t.Fatalf("gaps %v, want one of the end after %d", a.gaps, returned)
			}
			if missing := a.unexplained(session, returned); len(missing) != 0 || len(a.gaps) != 1 {
				t.Errorf("missing %v of %d, gaps %v", missing, returned, a.gaps)
			}
		})
	}
}

// segments are the files of the events' lane that hold something.
func segments(t *testing.T, o Options) (files []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(o.Dir, eventsDir, "0*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			files = append(files, name)
		}
	}
	return files
}

// appended makes a spool of several segments that nothing was sent of.
func appended(t *testing.T) Options {
	t.Helper()
	o := options(t, "grpc://"+nobody(t))
	o.EventsBytes = 8 * (160 << 10)
	s := open(t, o)
	for range 60 {
		s.AppendEvents(incompressible(200))
		s.AppendSnapshot(snapshot(1, 1)) // its numbers lie in between
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.EventsBytes = DefaultOptions().EventsBytes
	return o
}

// incompressible events take their room on disk.
func incompressible(n int) []event.Event {
	events := flows(n)
	for _, e := range events {
		e.(*event.NetworkFlow).RemoteName = uuid.NewString() + uuid.NewString()
	}
	return events
}

// TestTornTail: a write that was cut costs itself alone.
func TestTornTail(t *testing.T) {
	o := appended(t)
	files := segments(t, o)
	last := files[len(files)-1]
	records := entriesOf(t, last)
	// The kernel had written the segment up to the middle of its last entry.
	if err := os.Truncate(last, lengthOf(t, last)-20); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(o.Dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	c, s := deliverAll(t, o)
	a := c.account(t)
	torn := records[len(records)-1]
	missing := a.unexplained(session, 60*202)
	told := slices.ContainsFunc(a.gaps, func(g *event.Gap) bool {
		return g.Cause == CauseUncleanEnd && g.OfSession == session && g.First <= torn.First && g.Last == 0
	})
	if len(missing) != 0 || !told || s.Status().Damaged != 1 {
		t.Errorf("missing %v, gaps %v, damaged %d; torn %d to %d", missing, a.gaps, s.Status().Damaged, torn.First, torn.Last)
	}
	for _, e := range records[:len(records)-1] {
		if a.came[session][e.First] != 1 {
			t.Errorf("%d to %d, before the torn end, came %d times", e.First, e.Last, a.came[session][e.First])
		}
	}
}

// lengthOf is where the last entry of a segment ends: the rest is padding.
func lengthOf(t *testing.T, file string) int64 {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(strings.TrimRight(string(text), "\x00")))
}

func entriesOf(t *testing.T, file string) (entries []*entry) {
	t.Helper()
	reader, err := openSegment(file)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.close()
	for {
		record, err := reader.next()
		if err != nil {
			return entries
		}
		e, err := unmarshal(record)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
}

// TestDamagedSegment: a flipped bit costs the rest of its segment, to the record.
func TestDamagedSegment(t *testing.T) {
	for _, which := range []string{"first", "middle"} {
		t.Run(which, func(t *testing.T) {
			o := appended(t)
			files := segments(t, o)
			if len(files) < 4 {
				t.Fatalf("%d segments are not enough", len(files))
			}
			at := map[string]int{"first": 0, "middle": 2}[which]
			text, err := os.ReadFile(files[at])
			if err != nil {
				t.Fatal(err)
			}
			records := entriesOf(t, files[at])
			text[len(text)/2] ^= 1
			if err := os.WriteFile(files[at], text, 0o600); err != nil {
				t.Fatal(err)
			}
			intact := entriesOf(t, files[at])
			var lost uint64
			for _, e := range records[len(intact):] {
				lost += e.records()
			}
			c, s := deliverAll(t, o)
			a := c.account(t)
			if missing := a.unexplained(session, 60*202); len(missing) != 0 {
				t.Errorf("missing %v", missing)
			}
			if n := uint64(len(a.came[session])); n+lost != 60*202 {
				t.Errorf("%d came, %d lie behind the damage, of %d", n, lost, 60*202)
			}
			if counted := losses(s)[CauseCorrupt]; counted != lost || a.causes()[CauseCorrupt] != lost {
				t.Errorf("%d counted, %d told, want %d", counted, a.causes()[CauseCorrupt], lost)
			}
		})
	}
}

// TestDamagedSnapshot: it is lost whole, and told.
func TestDamagedSnapshot(t *testing.T) {
	o := options(t, "grpc://"+nobody(t))
	s := open(t, o)
	s.AppendSnapshot(snapshot(1, 5))
	s.AppendSnapshot(snapshot(2, 5))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(o.Dir, snapshotsDir, "*"))
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(files[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	c, next := deliverAll(t, o)
	a := c.account(t)
	if missing := a.unexplained(session, 12); len(missing) != 0 || len(a.came[session]) != 6 || losses(next)[CauseCorrupt] != 6 {
		t.Errorf("missing %v, %d came, losses %v", missing, len(a.came[session]), losses(next))
	}
}

// TestLaneFull: the oldest events go, counted by kind and told; snapshots have
// no part in it.
func TestLaneFull(t *testing.T) {
	c := startCollector(t, "grpc", "")
	release := make(chan struct{})
	c.answer = func(int, plog.Logs) (int64, error) {
		<-release
		return 0, nil
	}
	o := options(t, c.endpoint)
	o.EventsBytes = 8 * (32 << 10)
	s := open(t, o)
	run(t, s)
	s.AppendSnapshot(snapshot(1, 5))
	const requests, each = 400, 20
	for range requests {
		s.AppendEvents(incompressible(each))
		if on := s.Status().Events.Bytes; on > o.EventsBytes+(64<<10) {
			t.Fatalf("%d bytes wait, %d are allowed", on, o.EventsBytes)
		}
	}
	lost := s.Status().Lost[CauseFull]
	if lost[event.KindNetworkFlow] == 0 || losses(s)[CauseSuperseded] != 0 {
		t.Fatalf("losses %v", s.Status().Lost)
	}
	close(release)
	eventually(t, "everything delivered", s.empty)
	a := c.account(t)
	highest := slices.Max(slices.Collect(maps.Keys(a.came[session])))
	if missing := a.unexplained(session, highest); len(missing) != 0 {
		t.Errorf("missing %v of %d", missing, highest)
	}
	stored := 0
	for number, times := range a.came[session] {
		stored++
		for _, g := range a.gaps {
			if times != 1 || g.First <= number && number <= g.Last {
				t.Fatalf("%d came %d times, and is told to be lost: %+v", number, times, g)
			}
		}
	}
	if made := requests*each + 6 + len(a.gaps); uint64(stored)+sumLosses(s.Status()) != uint64(made)+s.Status().Lost[CauseFull][event.KindGap] {
		t.Errorf("%d made, %d stored, losses %v", made, stored, s.Status().Lost)
	}
}

// TestExpired: events that waited too long go, although there is room.
func TestExpired(t *testing.T) {
	o := options(t, "grpc://"+nobody(t))
	o.EventsAge = 100 * time.Millisecond
	s := open(t, o)
	s.AppendEvents(flows(10))
	eventually(t, "the first request expired", func() bool {
		s.AppendEvents(flows(1))
		return s.Status().Lost[CauseExpired][event.KindNetworkFlow] >= 10
	})
	run(t, s)
}

// TestNewestFirst: of the snapshots that waited the newest goes first, and of
// those that are older than a minute one a minute is kept.
func TestNewestFirst(t *testing.T) {
	c := startCollector(t, "grpc", "")
	o := options(t, c.endpoint)
	s := open(t, o)
	for number := uint64(0); number < 20; number++ { // five minutes
		one := snapshot(number*15, 2)
		s.AppendSnapshot(one)
	}
	run(t, s)
	eventually(t, "everything delivered", s.empty)
	var order []uint64
	for _, logs := range c.accepted {
		body, _ := new(plog.ProtoMarshaler).MarshalLogs(logs)
		_ = event.NewDecoder().Decode(body, func(record event.Record) {
			if h, is := record.Event.(*event.Heartbeat); is {
				order = append(order, h.Heartbeat)
			}
		})
	}
	want := []uint64{285, 270, 255, 240, 225} // of the last minute all
	if len(order) < len(want) || !slices.Equal(order[:len(want)], want) || !slices.IsSortedFunc(order, func(a, b uint64) int { return int(b) - int(a) }) {
		t.Errorf("arrived in the order %v, want it to begin with %v", order, want)
	}
	if kept := len(order) - len(want); kept < 3 || kept > 5 {
		t.Errorf("%d of the older ones arrived, want one for each of four minutes", kept)
	}
	a := c.account(t)
	superseded := losses(s)[CauseSuperseded]
	if missing := a.unexplained(session, 60); len(missing) != 0 || superseded != uint64(20-len(order))*3 || a.causes()[CauseSuperseded] != superseded {
		t.Errorf("missing %v, %d superseded, told %v", missing, superseded, a.causes())
	}
}

// TestNewSnapshotPassesAStuckOne that the collector does not take.
func TestNewSnapshotPassesAStuckOne(t *testing.T) {
	c := startCollector(t, "grpc", "")
	o := options(t, "grpc://"+nobody(t))
	s := open(t, o)
	run(t, s)
	s.AppendSnapshot(snapshot(1, 2))
	eventually(t, "the first attempt failed", func() bool {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		return s.stuck
	})
	client, err := NewClient(c.endpoint, Security{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	s.mutex.Lock()
	s.options.Client = client
	s.mutex.Unlock()
	s.AppendSnapshot(snapshot(2, 2))
	eventually(t, "both delivered", s.empty)
	if _, sequences := c.records(); !slices.Equal(sequences[:3], []int64{4, 5, 6}) {
		t.Errorf("arrived %v, want 4 to 6 first", sequences)
	}
}

func TestLockedSpool(t *testing.T) {
	o := options(t, "grpc://"+nobody(t))
	s := open(t, o)
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), o.Dir) || !strings.Contains(err.Error(), "another sensor") {
		t.Errorf("second sensor: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, o).Close(); err != nil {
		t.Error(err)
	}
}

// TestWithoutADirectory: everything stays in memory, and the status says so.
func TestWithoutADirectory(t *testing.T) {
	c := startCollector(t, "grpc", "")
	o := options(t, c.endpoint)
	o.Dir = ""
	s := open(t, o)
	run(t, s)
	s.AppendEvents(flows(10))
	s.AppendSnapshot(snapshot(1, 2))
	eventually(t, "everything delivered", s.empty)
	if a := c.account(t); len(a.came[session]) != 13 || s.Status().Disk == nil {
		t.Errorf("%d came, status %+v", len(a.came[session]), s.Status())
	}
}

// smallDisk is a file system of its own.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("netview-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes))
	if err != nil {
		t.Skipf("mounting a small disk takes root: %v", err)
	}
	t.Cleanup(func() {
		// What a spool that was abandoned has open goes with the process.
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFullDisk: what the disk does not take is kept in memory; as soon as it
// takes records again they are there. Nothing is lost.
func TestFullDisk(t *testing.T) {
	c := startCollector(t, "grpc", "")
	release := make(chan struct{})
	c.answer = func(int, plog.Logs) (int64, error) {
		<-release
		return 0, nil
	}
	o := options(t, c.endpoint)
	o.Dir = filepath.Join(smallDisk(t, 1<<20), "spool")
	s := open(t, o)
	run(t, s)
	full := 0
	for s.Status().Disk == nil {
		s.AppendEvents(incompressible(50))
		s.AppendSnapshot(snapshot(uint64(full), 3))
		full++
	}
	for range 20 {
		s.AppendEvents(incompressible(50))
		s.AppendSnapshot(snapshot(uint64(full), 3))
		full++
	}
	if !s.diskFull() {
		t.Fatalf("the disk's error is %v", s.Status().Disk)
	}
	close(release)
	eventually(t, "everything delivered", s.empty)
	eventually(t, "the disk in use again", func() bool {
		s.AppendEvents(flows(1))
		return s.Status().Disk == nil
	})
	eventually(t, "everything delivered", s.empty)
	a := c.account(t)
	highest := slices.Max(slices.Collect(maps.Keys(a.came[session])))
	counted := losses(s)
	delete(counted, CauseSuperseded) // snapshots of one second
	for cause, n := range counted {
		if n != 0 {
			t.Errorf("%d lost: %s", n, cause)
		}
	}
	if missing := a.unexplained(session, highest); len(missing) != 0 {
		t.Errorf("missing %v of %d", missing, highest)
	}
}

// TestReadOnlyDisk from the start on, and writable later.
func TestReadOnlyDisk(t *testing.T) {
	c := startCollector(t, "grpc", "")
	o := options(t, c.endpoint)
	o.Dir = smallDisk(t, 4<<20)
	remount := func(flags uintptr) {
		if err := unix.Mount("netview-test", o.Dir, "tmpfs", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	s := open(t, o)
	run(t, s)
	s.AppendEvents(flows(10))
	s.AppendSnapshot(snapshot(1, 2))
	eventually(t, "everything delivered", s.empty)
	if s.Status().Disk == nil {
		t.Error("the status does not tell")
	}
	remount(0)
	eventually(t, "the disk in use", func() bool {
		s.AppendEvents(flows(1))
		return s.Status().Disk == nil
	})
	eventually(t, "everything delivered", s.empty)
	if a := c.account(t); len(a.unexplained(session, 13)) != 0 || sumLosses(s.Status()) != 0 {
		t.Errorf("missing %v, losses %v", a.unexplained(session, 13), losses(s))
	}
}

// TestMemoryFull: without a disk the oldest in memory go, counted and told.
func TestMemoryFull(t *testing.T) {
	c := startCollector(t, "grpc", "")
	release := make(chan struct{})
	c.answer = func(int, plog.Logs) (int64, error) {
		<-release
		return 0, nil
	}
	o := options(t, c.endpoint)
	o.Dir, o.MemoryBytes = "", 256<<10
	s := open(t, o)
	run(t, s)
	for range 200 {
		s.AppendEvents(incompressible(20))
	}
	if s.Status().Lost[CauseMemory][event.KindNetworkFlow] == 0 || s.Status().Events.Bytes > 2*o.MemoryBytes {
		t.Errorf("status %+v", s.Status())
	}
	close(release)
	eventually(t, "everything delivered", s.empty)
	a := c.account(t)
	highest := slices.Max(slices.Collect(maps.Keys(a.came[session])))
	if missing := a.unexplained(session, highest); len(missing) != 0 {
		t.Errorf("missing %v of %d", missing, highest)
	}
}

// TestKilledOnAFullDisk twice: each end is told, also that of a session which
// found the disk full and left nothing there but its name.
func TestKilledOnAFullDisk(t *testing.T) {
	o := options(t, "grpc://"+nobody(t))
	disk := smallDisk(t, 1<<20)
	o.Dir = filepath.Join(disk, "spool")
	first := open(t, o)
	first.AppendEvents(flows(10))
	if err := first.makeLast(); err != nil {
		t.Fatal(err)
	}
	_ = os.WriteFile(filepath.Join(disk, "ballast"), make([]byte, 2<<20), 0o600)
	for first.Status().Disk == nil {
		first.AppendEvents(incompressible(50))
	}
	abandon(first)
	o.Resource.Session = uuid.New()
	second := open(t, o)
	second.AppendEvents(incompressible(2000))
	if !second.diskFull() {
		t.Fatalf("the disk is not full: %v", second.Status().Disk)
	}
	abandon(second)
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	c, _ := deliverAll(t, o)
	a := c.account(t)
	for _, ended := range []uuid.UUID{session, o.Resource.Session} {
		if !slices.ContainsFunc(a.gaps, func(g *event.Gap) bool { return g.OfSession == ended && g.Cause == CauseUncleanEnd && g.Last == 0 }) {
			t.Errorf("the end of session %v is not told: %+v", ended, a.gaps)
		}
	}
	if a.came[session][10] != 1 {
		t.Error("what the first session had on disk did not arrive")
	}
}

// abandon leaves a spool as a kill does: nothing is written any more, and the
// kernel takes the lock back.
func abandon(s *Spool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.lock.Close()
}
