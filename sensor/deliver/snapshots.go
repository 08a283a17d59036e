package deliver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
)

// snapshotLane holds whole snapshots, each in a file of its own on disk, or in
// memory while the disk takes nothing. The newest goes first. All of its
// methods are called with the spool's lock.
type snapshotLane struct {
	s       *Spool
	dir     string            // empty without one
	waiting []*storedSnapshot // oldest first; the one that is sent is not among them
	sending *storedSnapshot
	next    uint64 // numbers the files
}

// storedSnapshot is a snapshot on its way.
type storedSnapshot struct {
	session     uuid.UUID
	first, last uint64
	taken       time.Time
	file        string   // empty in memory
	entries     []*entry // rows first, the heartbeat last; nil on disk until it is sent
	bytes       int64
	kinds       map[event.Kind]uint64 // of what is not acknowledged
	settled     map[uint64]bool       // requests that need not be sent again, by their first number
}

const snapshotsDir = "snapshots"

// openSnapshots finds what earlier sessions left. found gets the header of each
// entry.
func openSnapshots(s *Spool, dir string, found func(*header)) (*snapshotLane, error) {
	l := &snapshotLane{s: s}
	if dir == "" {
		return l, nil
	}
	l.dir = filepath.Join(dir, snapshotsDir)
	names, err := os.ReadDir(l.dir) // sorted: oldest first
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	var errs []error
	if err != nil {
		errs = append(errs, fmt.Errorf("reading the spool: %w", err))
	}
	for _, name := range names {
		path := filepath.Join(l.dir, name.Name())
		var index uint64
		if _, err := fmt.Sscanf(name.Name(), "%d-", &index); err != nil {
			errs = append(errs, os.RemoveAll(path)) // its append never returned
			continue
		}
		l.next = max(l.next, index)
		stored := newStored()
		stored.file = path
		entries, err := stored.read()
		if err != nil {
			errs = append(errs, err)
			s.show(func(status *event.Delivery) { status.Damaged++ })
			if stored.session, stored.first, stored.last, err = rangeOf(name.Name()); err != nil {
				continue
			}
			stored.taken, stored.kinds[""] = time.Now(), stored.last-stored.first+1
		}
		for _, e := range entries {
			found(&e.header)
			stored.describe(e)
		}
		l.waiting = append(l.waiting, stored)
	}
	slices.SortStableFunc(l.waiting, func(a, b *storedSnapshot) int { return a.taken.Compare(b.taken) })
	return l, errors.Join(errs...)
}

func newStored() *storedSnapshot {
	return &storedSnapshot{settled: map[uint64]bool{}, kinds: map[event.Kind]uint64{}}
}

// nameOf is the file of a snapshot: what it holds can be told without its content.
func (l *snapshotLane) nameOf(s *storedSnapshot) string {
	l.next++
	return fmt.Sprintf("%012d-%d-%d-%s", l.next, s.first, s.last, s.session)
}

func rangeOf(name string) (session uuid.UUID, first, last uint64, err error) {
	var index uint64
	var id string
	if _, err = fmt.Sscanf(name, "%d-%d-%d-%s", &index, &first, &last, &id); err == nil {
		session, err = uuid.Parse(id)
	}
	return session, first, last, err
}

// describe counts an entry in.
func (s *storedSnapshot) describe(e *entry) {
	if s.first == 0 {
		s.session, s.first, s.taken = e.Session, e.First, e.Appended
	}
	s.last, s.bytes = e.Last, s.bytes+int64(len(e.body))
	add(s.kinds, e.Kinds)
}

// append keeps a snapshot, and thins out those that wait.
func (l *snapshotLane) append(entries []*entry) {
	stored := newStored()
	stored.entries = entries
	for _, e := range entries {
		stored.describe(e)
	}
	l.waiting = append(l.waiting, stored)
	if l.s.events.writable() { // the one disk has the one fate
		if err := l.store(stored); err != nil {
			l.s.diskFailed(err)
		}
	}
	l.thin()
}

// store writes a snapshot to the disk, synced, and lets go of its memory.
func (l *snapshotLane) store(s *storedSnapshot) error {
	var content []byte
	for _, e := range s.entries {
		record := e.marshal()
		content = append(binary.AppendUvarint(content, uint64(len(record))), record...)
	}
	path := filepath.Join(l.dir, l.nameOf(s))
	// A zstd frame, of what is compressed already, for its checksum.
	if err := renameio.WriteFile(path, compressor.EncodeAll(content, nil), 0o600, renameio.WithTempDir(l.dir)); err != nil {
		return fmt.Errorf("writing a snapshot to the spool: %w", err)
	}
	s.file, s.entries = path, nil
	return nil
}

// read returns the entries, all or none.
func (s *storedSnapshot) read() ([]*entry, error) {
	if s.entries != nil {
		return s.entries, nil
	}
	content, err := os.ReadFile(s.file)
	if err == nil {
		content, err = decompressor.DecodeAll(content, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("reading snapshot %s of the spool: %w", filepath.Base(s.file), err)
	}
	var entries []*entry
	for len(content) > 0 {
		length, n := binary.Uvarint(content)
		if n <= 0 || length > uint64(len(content)-n) {
			return nil, fmt.Errorf("snapshot %s of the spool is damaged", filepath.Base(s.file))
		}
		e, err := unmarshal(content[n : n+int(length)])
		if err != nil {
			return nil, fmt.Errorf("snapshot %s of the spool: %w", filepath.Base(s.file), err)
		}
		entries, content = append(entries, e), content[n+int(length):]
	}
	return entries, nil
}

// take gives the newest snapshot to the one who sends; nil where there is none.
func (l *snapshotLane) take() *storedSnapshot {
	for len(l.waiting) > 0 {
		s := l.waiting[len(l.waiting)-1]
		l.waiting = l.waiting[:len(l.waiting)-1]
		entries, err := s.read()
		if err != nil || len(entries) == 0 {
			l.s.options.Log.Error("A snapshot in the spool is damaged: it is dropped and counted", "err", err)
			l.lose(CauseCorrupt, s)
			continue
		}
		s.entries = entries
		l.sending = s
		return s
	}
	return nil
}

// putBack lets a newer snapshot go first.
func (l *snapshotLane) putBack(s *storedSnapshot) {
	if s.file != "" {
		s.entries = nil
	}
	l.sending = nil
	at, _ := slices.BinarySearchFunc(l.waiting, s.taken, func(other *storedSnapshot, taken time.Time) int { return other.taken.Compare(taken) })
	l.waiting = slices.Insert(l.waiting, at, s)
	l.thin()
}

// finish frees a snapshot of which everything is settled.
func (l *snapshotLane) finish(s *storedSnapshot) {
	l.sending = nil
	l.free(s)
}

func (l *snapshotLane) free(s *storedSnapshot) {
	if s.file != "" {
		if err := os.Remove(s.file); err != nil && !errors.Is(err, os.ErrNotExist) {
			l.s.diskFailed(fmt.Errorf("freeing a snapshot of the spool: %w", err))
		}
	}
}

// recent snapshots are kept whole in number: a collector that is restarted costs
// none of them. Of older ones one a minute is kept.
const recent = time.Minute

// thin makes snapshots that wait superseded: one a minute is kept of those that
// are older than the newest by more than a minute, and none beyond the lane's
// bounds. The newest always stays.
func (l *snapshotLane) thin() {
	if len(l.waiting) < 2 {
		return
	}
	newest := l.waiting[len(l.waiting)-1].taken
	var gone []*storedSnapshot
	kept := map[time.Time]bool{}
	bytes, memory := int64(0), int64(0)
	for i := len(l.waiting) - 1; i >= 0; i-- {
		s := l.waiting[i]
		minute := s.taken.Truncate(time.Minute)
		age := newest.Sub(s.taken)
		if s.file == "" {
			memory += s.bytes
		} else {
			bytes += s.bytes
		}
		full := bytes > l.s.options.SnapshotsBytes || memory > l.s.options.MemoryBytes || age > l.s.options.SnapshotsAge
		if i < len(l.waiting)-1 && (full || age > recent && kept[minute]) {
			gone = append(gone, s)
			continue
		}
		kept[minute] = true
	}
	if len(gone) > 0 {
		l.waiting = slices.DeleteFunc(l.waiting, func(s *storedSnapshot) bool { return slices.Contains(gone, s) })
		l.lose(CauseSuperseded, gone...)
	}
}

// lose drops snapshots, which are not among the waiting any more.
func (l *snapshotLane) lose(cause string, snapshots ...*storedSnapshot) {
	kinds := map[event.Kind]uint64{}
	var gone []lost
	for _, s := range snapshots {
		add(kinds, s.kinds)
		gone = append(gone, lost{Session: s.session, First: s.first, Last: s.last, Cause: cause, Records: sum(s.kinds), Kinds: maps.Clone(s.kinds)})
	}
	l.s.lose(cause, kinds, gone)
	for _, s := range snapshots {
		l.free(s)
	}
}

// resume writes to the disk what waits in memory.
func (l *snapshotLane) resume() error {
	for _, s := range l.waiting {
		if s.file == "" {
			if err := l.store(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// onlyInMemory reports whether snapshots would be lost with the process.
func (l *snapshotLane) onlyInMemory() bool {
	return slices.ContainsFunc(l.held(), func(s *storedSnapshot) bool { return s.file == "" })
}

// held are the snapshots that wait or are being sent.
func (l *snapshotLane) held() []*storedSnapshot {
	if l.sending == nil {
		return l.waiting
	}
	return append(slices.Clone(l.waiting), l.sending)
}
