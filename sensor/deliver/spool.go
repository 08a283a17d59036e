// Package deliver takes a sensor's records to the collector: it gives them
// their sequence, keeps them on disk, sends them by OTLP, and retries until they
// are acknowledged. docs/delivery.md says what that guarantees.
package deliver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
)

// Causes of loss in this package, as named in metrics, in the heartbeat and in
// gap records.
const (
	// CauseSuperseded: newer snapshots took the place of one that waited.
	CauseSuperseded = "snapshot_superseded"
	// CauseRefused: the collector refused records for good.
	CauseRefused = "refused"
	// CauseFull: the events' lane was full and its oldest made room.
	CauseFull = "spool_full"
	// CauseExpired: events waited longer than they may.
	CauseExpired = "spool_expired"
	// CauseMemory: the disk took nothing, and memory was full.
	CauseMemory = "spool_memory_full"
	// CauseCorrupt: what was on disk cannot be read any more.
	CauseCorrupt = "spool_corrupt"
	// CauseUncleanEnd: the sensor ended without notice. What its spool held is
	// sent; what it had only in memory is gone, and nobody knows how much it was.
	CauseUncleanEnd = "unclean_end"
)

// Causes lists every cause, for metrics that start at zero.
func Causes() []string {
	return []string{CauseSuperseded, CauseRefused, CauseFull, CauseExpired, CauseMemory, CauseCorrupt, CauseUncleanEnd}
}

// Options of a [Spool].
type Options struct {
	Client Client
	// Resource is that of the session: gap records carry it.
	Resource event.Resource
	// Dir is the spool's directory; without one everything stays in memory.
	Dir string
	// EventsBytes and SnapshotsBytes bound what waits on disk, EventsAge and
	// SnapshotsAge for how long.
	EventsBytes, SnapshotsBytes int64
	EventsAge, SnapshotsAge     time.Duration
	// MemoryBytes bounds each lane while the disk takes nothing.
	MemoryBytes int64
	// What was appended is synced to the disk after SyncInterval, or as soon as
	// it is SyncBytes.
	SyncInterval time.Duration
	SyncBytes    int64
	// RequestTimeout bounds one attempt to send one request.
	RequestTimeout time.Duration
	Log            *slog.Logger
}

// DefaultOptions are those of a sensor for which nothing else was chosen.
func DefaultOptions() Options {
	return Options{EventsBytes: 512 << 20, SnapshotsBytes: 128 << 20, EventsAge: 3 * 24 * time.Hour, SnapshotsAge: 6 * time.Hour,
		MemoryBytes: 16 << 20, SyncInterval: time.Second, SyncBytes: 4 << 20, RequestTimeout: 40 * time.Second}
}

// Check names every option that is out of range.
func (o *Options) Check() error {
	var errs []error
	atLeast := func(name string, value, least int64) {
		if value < least {
			errs = append(errs, fmt.Errorf("%s of the spool, %d bytes, is out of range: at least %d", name, value, least))
		}
	}
	between := func(name string, value, least, most time.Duration) {
		if value < least || value > most {
			errs = append(errs, fmt.Errorf("%s of the spool, %v, is out of range: %v to %v", name, value, least, most))
		}
	}
	const year = 365 * 24 * time.Hour
	atLeast("size of the events' lane", o.EventsBytes, 1<<20)
	atLeast("size of the snapshots' lane", o.SnapshotsBytes, 1<<20)
	atLeast("memory", o.MemoryBytes, 1<<20)
	atLeast("sync size", o.SyncBytes, 1)
	between("age of events", o.EventsAge, time.Minute, year)
	between("age of snapshots", o.SnapshotsAge, time.Minute, year)
	between("sync interval", o.SyncInterval, 10*time.Millisecond, time.Minute)
	between("request timeout", o.RequestTimeout, time.Second, time.Hour)
	return errors.Join(errs...)
}

// Requests in flight share the receiver's commits. A snapshot's are large. Those
// of events hold what a moment brought, and are never joined: after an outage it
// takes many at a time to catch up.
const (
	snapshotsInFlight  = 8
	eventsInFlight     = 64
	eventBytesInFlight = 8 << 20
)

// diskRetry is how often a disk that takes nothing is tried again.
const diskRetry = 5 * time.Second

// Spool keeps records from the moment they are appended until they are
// acknowledged, or lost to a cause that is told and counted. Events and
// snapshots have lanes of their own, so that neither waits for the other.
type Spool struct {
	options Options
	failing atomic.Int32 // takes, fails or denies

	mutex     sync.Mutex
	wake      *sync.Cond // there is an event to send, for one of those who send
	wakeOther *sync.Cond // there is a snapshot to send
	stopped   bool
	sequence  uint64
	appended  uint64 // events, of this session
	events    *eventLane
	snapshots *snapshotLane
	settled   ranges   // numbers of this session whose fate is known
	saved     state    // what is on disk; of keepHouse while Run runs
	lock      *os.File // nil without a directory, or where it cannot be written
	ends      []lost   // of earlier sessions, told in memory only
	diskErr   error    // why the disk takes nothing
	retryDisk time.Time
	preempt   context.CancelFunc // of the snapshot that is being sent
	stuck     bool               // it is waiting for another attempt

	showing sync.Mutex // never held while the disk or the network is waited for
	shown   event.Delivery
	syncNow chan struct{}
}

// errNoDir stands for the error of a spool that was told to use no disk.
var errNoDir = errors.New("no directory is configured")

// Open opens a spool with what earlier sessions left in it. A disk that cannot
// be used is no error: the spool then keeps to memory, tries the disk again and
// says so in its status. The only error is a [LockedError].
func Open(options Options) (*Spool, error) {
	s := &Spool{options: options, syncNow: make(chan struct{}, 1), shown: event.Delivery{Delivered: map[event.Kind]uint64{}, Lost: map[string]map[event.Kind]uint64{}, Failed: map[string]uint64{}}}
	s.wake, s.wakeOther = sync.NewCond(&s.mutex), sync.NewCond(&s.mutex)
	for _, cause := range Causes() {
		s.shown.Lost[cause] = map[event.Kind]uint64{}
	}
	for _, kind := range event.Kinds() {
		s.shown.Delivered[kind] = 0
	}
	for _, failure := range failures() {
		s.shown.Failed[failure] = 0
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err := s.open(); err != nil {
		return nil, err
	}
	s.update()
	return s, nil
}

func (s *Spool) open() error {
	dir := s.options.Dir
	usable := errNoDir
	if dir != "" {
		usable = makeDirs(dir)
		if usable == nil {
			s.lock, usable = lockDir(dir)
		}
		if locked := new(LockedError); errors.As(usable, &locked) {
			return usable
		}
	}
	var before state
	var errs []error
	if dir != "" {
		var err error
		before, err = readState(dir)
		errs = append(errs, err)
	}
	var spans ranges
	if before.Settled > 0 {
		spans.add(1, before.Settled)
	}
	found := func(h *header) {
		if h.Session == before.Session {
			spans.add(h.First, h.Last)
		}
	}
	damaged := damage{last: before.Mark}
	var err error
	s.events, err = openEvents(s, dir, before, func(h *header) {
		damaged.found(h)
		found(h)
	}, damaged.cannotRead)
	errs = append(errs, err)
	s.snapshots, err = openSnapshots(s, dir, found)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		s.options.Log.Error("Something of the spool cannot be read: the rest of it is sent, and what is lost is counted", "dir", dir, "err", err)
	}
	if usable == nil {
		usable = s.events.resume()
	}
	if usable != nil {
		s.diskFailed(usable)
	}

	if before.Session != uuid.Nil && !before.Clean {
		damaged.end(before.Session) // that this one ends somewhere is told next
		damaged.gone = append(damaged.gone, lost{Session: before.Session, First: spans.contiguous() + 1, Cause: CauseUncleanEnd})
		s.options.Log.Warn("The sensor ended without notice before: what its spool held is sent", "session", before.Session)
	} else {
		damaged.end(uuid.Nil)
	}
	s.show(func(status *event.Delivery) { status.Damaged += damaged.segments })
	corrupt := uint64(0)
	for _, l := range damaged.gone {
		corrupt += l.Records
	}
	gone := append(before.Ends, damaged.gone...)
	s.lose(CauseCorrupt, map[event.Kind]uint64{"": corrupt}, gone)
	if s.diskErr != nil {
		s.ends = gone
	}
	if s.lock != nil {
		s.save(s.state(false))
	}
	return nil
}

// AppendEvents gives events their sequence and keeps them, as one request or
// several if they are many. When it returns they survive the end of the process,
// and after the next sync that of the host; see [Options]. They must be of the
// session of the options' resource, and not change afterwards.
func (s *Spool) AppendEvents(events []event.Event) {
	if len(events) == 0 {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	now := time.Now()
	s.tryDisk(now, false)
	s.events.bound(now)
	s.appendEvents(events, now)
	s.update()
}

func (s *Spool) appendEvents(events []event.Event, now time.Time) {
	s.sequence = number(events, s.sequence+1) - 1
	entries := encode(events, now)
	for _, e := range entries {
		e.Before = s.appended
		s.appended += e.records()
	}
	s.events.append(entries)
	for range entries {
		s.wake.Signal()
	}
	if j := s.events.journal; j != nil && j.unsynced.Load() >= s.options.SyncBytes {
		select {
		case s.syncNow <- struct{}{}:
		default:
		}
	}
}

// number gives events their sequence, from the next on, and returns that after them.
func number(events []event.Event, next uint64) uint64 {
	for _, e := range events {
		e.Env().Sequence = next
		next++
	}
	return next
}

// AppendSnapshot gives the records of a snapshot their sequence and keeps it, as
// [Spool.AppendEvents] does events; it is synced at once. rows gives as many rows
// as are said, in pieces that it may use again for the next; the heartbeat may be
// completed until they are all made.
func (s *Spool) AppendSnapshot(h *event.Heartbeat, records int, rows iter.Seq[[]event.Event]) {
	// The numbers of a snapshot have none of an event between them. Events do not
	// wait for it to be made.
	s.mutex.Lock()
	next := s.sequence + 1
	s.sequence += uint64(records) + 1
	last := s.sequence
	s.mutex.Unlock()
	var entries []*entry
	for piece := range rows {
		next = number(piece, next)
		entries = append(entries, encode(piece, h.Timestamp)...)
	}
	if next != last {
		panic(fmt.Sprintf("a snapshot has %d rows too many or too few", int64(next-last)))
	}
	closing := []event.Event{h}
	number(closing, next)
	entries = append(entries, encode(closing, h.Timestamp)...)

	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.tryDisk(time.Now(), false)
	s.snapshots.append(entries)
	if s.stuck && s.preempt != nil {
		s.preempt() // the newest goes first
	}
	s.wakeOther.Signal()
	s.update()
}

// lose counts what is lost, and appends the records that tell of it.
func (s *Spool) lose(cause string, kinds map[event.Kind]uint64, gone []lost) {
	s.show(func(status *event.Delivery) { add(status.Lost[cause], kinds) })
	if len(gone) == 0 {
		return
	}
	now := time.Now()
	events := make([]event.Event, len(gone))
	for i, l := range gone {
		events[i] = l.event(event.Envelope{Resource: s.options.Resource, Timestamp: now.UTC().Truncate(time.Microsecond)})
		if l.Session == s.options.Resource.Session && l.Last > 0 {
			s.settled.add(l.First, l.Last)
		}
	}
	s.appendEvents(events, now)
}

// diskFailed goes over to memory.
func (s *Spool) diskFailed(err error) {
	if s.events.writable() {
		s.events.journal.fail()
	}
	s.retryDisk = time.Now().Add(diskRetry)
	full := s.diskFull()
	if s.diskErr == nil && !errors.Is(err, errNoDir) {
		s.options.Log.Error("The spool's disk takes nothing: records are kept in memory until it does", "dir", s.options.Dir, "err", err)
	} else if s.diskErr != nil && isFull(err) == full {
		return // the same in other words: metrics show the first
	}
	s.diskErr = err
}

func (s *Spool) diskFull() bool { return isFull(s.diskErr) }

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// tryDisk goes back to the disk where it takes records again: now, where there is
// reason to hope, or from time to time.
func (s *Spool) tryDisk(now time.Time, hope bool) {
	if s.diskErr == nil || s.options.Dir == "" || now.Before(s.retryDisk) && !hope {
		return
	}
	err := makeDirs(s.options.Dir)
	if err == nil && s.lock == nil {
		s.lock, err = lockDir(s.options.Dir)
	}
	if err == nil {
		err = s.events.resume()
	}
	if err == nil {
		err = s.snapshots.resume()
	}
	if err != nil {
		s.diskFailed(err)
		return
	}
	s.diskErr, s.ends = nil, nil
	s.options.Log.Info("The spool's disk takes records again", "dir", s.options.Dir)
}

func (s *Spool) segmentBytes() int64 { return min(8<<20, s.options.EventsBytes/8) }

// Run sends until ctx ends. What is not acknowledged by then stays in the spool.
func (s *Spool) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		s.mutex.Lock()
		s.stopped = true
		s.mutex.Unlock()
		s.wake.Broadcast()
		s.wakeOther.Broadcast()
	})
	defer stop()
	var running sync.WaitGroup
	for range eventsInFlight {
		running.Go(func() { s.sendEvents(ctx) })
	}
	running.Go(func() { s.sendSnapshots(ctx) })
	running.Go(func() { s.keepHouse(ctx) })
	running.Wait()
}

func (s *Spool) sendEvents(ctx context.Context) {
	for {
		s.mutex.Lock()
		var t *ticket
		for !s.stopped {
			if t = s.events.take(); t != nil {
				break
			}
			s.wake.Wait()
		}
		s.mutex.Unlock()
		if t == nil {
			return
		}
		err := s.send(ctx, t.entry, func() {})
		if ctx.Err() != nil && err != nil {
			return // it is sent again after the next start
		}
		s.mutex.Lock()
		s.conclude(t.entry, err)
		s.events.settle(t)
		s.wake.Signal() // there is room in flight
		s.update()
		s.mutex.Unlock()
	}
}

// conclude takes the fate of a request into account.
func (s *Spool) conclude(e *entry, err error) {
	if e.Session == s.options.Resource.Session {
		s.settled.add(e.First, e.Last)
	}
	if refused := new(Refusal); errors.As(err, &refused) {
		s.refuse(e, refused)
		return
	}
	s.show(func(status *event.Delivery) { add(status.Delivered, e.Kinds) })
}

// refuse puts a request aside that the collector will never take.
func (s *Spool) refuse(e *entry, refused *Refusal) {
	l := lost{Session: e.Session, First: e.First, Last: e.Last, Cause: CauseRefused, Records: e.records(), Kinds: e.Kinds}
	kinds := e.Kinds
	if refused.Records > 0 && refused.Records < e.records() {
		l.Records, l.Kinds = refused.Records, nil
		kinds = map[event.Kind]uint64{"": refused.Records}
		if len(e.Kinds) == 1 {
			for kind := range e.Kinds {
				kinds = map[event.Kind]uint64{kind: refused.Records}
				l.Kinds = kinds
			}
		}
	}
	s.options.Log.Error("The collector refused records for good: they are counted and put aside", "err", refused, "records", l.Records, "first", e.First, "last", e.Last)
	if s.options.Dir != "" && s.diskErr == nil {
		if err := keepRefused(s.options.Dir, e, refused); err != nil {
			s.options.Log.Warn("Refused records are not kept", "err", err)
		}
	}
	gone := []lost{l}
	if e.Kinds[event.KindGap] == e.records() {
		gone = nil // that would be refused as well, and so on for ever
	}
	s.lose(CauseRefused, kinds, gone)
}

func (s *Spool) sendSnapshots(ctx context.Context) {
	for {
		s.mutex.Lock()
		var snapshot *storedSnapshot
		for !s.stopped {
			if snapshot = s.snapshots.take(); snapshot != nil {
				break
			}
			s.wakeOther.Wait()
		}
		if snapshot == nil {
			s.mutex.Unlock()
			return
		}
		attempt, cancel := context.WithCancel(ctx)
		s.preempt, s.stuck = cancel, false
		s.mutex.Unlock()

		err := s.sendSnapshot(attempt, snapshot)
		cancel()

		s.mutex.Lock()
		s.preempt, s.stuck = nil, false
		var refused *Refusal
		switch {
		case err == nil:
			s.show(func(status *event.Delivery) {
				if snapshot.taken.After(status.Acknowledged) {
					status.Acknowledged = snapshot.taken
				}
			})
			s.snapshots.finish(snapshot)
		case errors.As(err, &refused):
			// Without all of its rows its heartbeat must not be sent.
			s.snapshots.lose(CauseRefused, snapshot)
			s.snapshots.sending = nil
		default:
			s.snapshots.putBack(snapshot)
		}
		s.update()
		s.mutex.Unlock()
	}
}

// sendSnapshot sends the rows, and the heartbeat only when every row is
// acknowledged.
func (s *Spool) sendSnapshot(ctx context.Context, snapshot *storedSnapshot) error {
	group, rows := errgroup.WithContext(ctx)
	group.SetLimit(snapshotsInFlight)
	last := len(snapshot.entries) - 1
	for _, e := range snapshot.entries[:last] {
		if !snapshot.isSettled(s, e) {
			group.Go(func() error { return s.sendPart(rows, snapshot, e) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return s.sendPart(ctx, snapshot, snapshot.entries[last])
}

func (snapshot *storedSnapshot) isSettled(s *Spool, e *entry) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return snapshot.settled[e.First]
}

func (s *Spool) sendPart(ctx context.Context, snapshot *storedSnapshot, e *entry) error {
	err := s.send(ctx, e, func() {
		s.mutex.Lock()
		s.stuck = true
		newer := len(s.snapshots.waiting) > 0 && s.snapshots.waiting[len(s.snapshots.waiting)-1].taken.After(snapshot.taken)
		if newer && s.preempt != nil {
			s.preempt()
		}
		s.mutex.Unlock()
	})
	var refused *Refusal
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.stuck = false
	snapshot.settled[e.First] = true
	subtract(snapshot.kinds, e.Kinds)
	s.conclude(e, err)
	s.update()
	return err
}

// keepHouse does what no append waits for.
func (s *Spool) keepHouse(ctx context.Context) {
	ticker := time.NewTicker(s.options.SyncInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.syncNow:
		case <-ctx.Done():
			return
		}
		err := s.makeLast()
		s.mutex.Lock()
		now := time.Now()
		if err != nil {
			s.diskFailed(err)
		}
		s.tryDisk(now, false)
		s.events.bound(now)
		s.update()
		s.mutex.Unlock()
	}
}

// makeLast makes what is on disk survive the end of the host, and remembers how
// far sending has come. Others append meanwhile.
func (s *Spool) makeLast() error {
	var err error
	if j := s.events.journal; j != nil {
		err = j.sync()
	}
	s.mutex.Lock()
	now := s.state(false)
	idle := s.lock == nil || s.diskErr != nil || reflect.DeepEqual(now, s.saved)
	s.mutex.Unlock()
	if err != nil || idle {
		return err
	}
	if err := writeState(s.options.Dir, now); err != nil {
		return err
	}
	s.saved = now
	return nil
}

// state is what to remember now.
func (s *Spool) state(clean bool) state {
	segment, entries, end := s.events.cursor()
	return state{Session: s.options.Resource.Session, Clean: clean, Settled: s.settled.contiguous(), Segment: segment, Entries: entries, Mark: end,
		Damaged: s.events.damaged(), Ends: s.ends}
}

// save writes the state.
func (s *Spool) save(now state) {
	if err := writeState(s.options.Dir, now); err != nil {
		s.diskFailed(err)
		return
	}
	s.saved = now
}

// Close ends the spool in good order. Run must have returned, and nothing may be
// appended afterwards.
func (s *Spool) Close() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.lock != nil && s.diskErr == nil {
		s.save(s.state(!s.events.onlyInMemory() && !s.snapshots.onlyInMemory()))
	}
	err := s.events.close()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	if err != nil {
		return fmt.Errorf("closing the spool: %w", err)
	}
	return nil
}

// Status returns the state now. It never waits for the disk or the collector.
func (s *Spool) Status() event.Delivery {
	s.showing.Lock()
	defer s.showing.Unlock()
	status := s.shown
	status.Delivered, status.Failed, status.Lost = maps.Clone(status.Delivered), maps.Clone(status.Failed), map[string]map[event.Kind]uint64{}
	for cause, kinds := range s.shown.Lost {
		status.Lost[cause] = maps.Clone(kinds)
	}
	return status
}

func (s *Spool) show(change func(*event.Delivery)) {
	s.showing.Lock()
	defer s.showing.Unlock()
	change(&s.shown)
}

// update shows what lies in the lanes.
func (s *Spool) update() {
	var events, snapshots event.Lane
	events.Records, events.Oldest = s.events.waiting()
	events.Bytes = s.events.bytes
	events.Limit, snapshots.Limit = s.options.EventsBytes, s.options.SnapshotsBytes
	if s.diskErr != nil {
		events.Limit, snapshots.Limit = s.options.MemoryBytes, s.options.MemoryBytes
	}
	held := s.snapshots.held()
	for _, h := range held {
		snapshots.Records += sum(h.kinds)
		snapshots.Bytes += h.bytes
		if snapshots.Oldest.IsZero() || h.taken.Before(snapshots.Oldest) {
			snapshots.Oldest = h.taken
		}
	}
	s.show(func(status *event.Delivery) {
		status.Events, status.Snapshots, status.Waiting, status.Disk = events, snapshots, len(held), s.diskErr
	})
}
