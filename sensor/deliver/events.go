package deliver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
)

// eventLane holds events in the order in which they were appended, in parts:
// the segments of a journal, and memory while the disk takes nothing. All of its
// methods are called with the spool's lock.
type eventLane struct {
	s       *Spool
	journal *journal // nil without a directory
	parts   []*part  // oldest first
	bytes   int64    // of all parts
	sending uint64   // records that senders took, and that are not settled
	flying  int      // their bytes
	mark    mark     // the end of the newest part on disk that was freed
}

// mark is the end of an entry.
type mark struct {
	Session uuid.UUID `json:"session"`
	Last    uint64    `json:"last"`
	// After is how many events of the session were appended up to there.
	After uint64 `json:"after"`
}

func (h *header) mark() mark { return mark{h.Session, h.Last, h.Before + h.records()} }

// part is a segment, or a piece of memory.
type part struct {
	segment int      // in the journal; inMemory
	memory  []*entry // what is in memory; nil where a sender took it
	reader  *segmentReader
	bytes   int64
	began   time.Time // when its first entry was appended
	// oldest is when the first entry that is not settled was appended, or the one
	// before it: where none waited, it is exact.
	oldest time.Time

	entries int // that it has
	taken   int // by senders, in order
	done    int // that are settled
	// settled is how many are without a hole, with the end of the last; early
	// those beyond.
	settled int
	mark    mark
	early   map[int]mark
	damaged bool // its end cannot be read, which was told

	rest rest
}

const inMemory = -1

// rest is what a part holds that no sender took yet.
type rest struct {
	kinds  map[event.Kind]uint64
	spans  map[uuid.UUID]*ranges
	gaps   []lost
	newest time.Time
}

func (r *rest) add(h *header) {
	if r.kinds == nil {
		r.kinds, r.spans = map[event.Kind]uint64{}, map[uuid.UUID]*ranges{}
	}
	add(r.kinds, h.Kinds)
	if r.spans[h.Session] == nil {
		r.spans[h.Session] = &ranges{}
	}
	r.spans[h.Session].add(h.First, h.Last)
	r.gaps = append(r.gaps, h.Gaps...)
	r.newest = h.Appended
}

func (r *rest) remove(h *header) {
	subtract(r.kinds, h.Kinds)
	if spans := r.spans[h.Session]; spans != nil {
		spans.remove(h.First, h.Last)
	}
	r.gaps = slices.Delete(r.gaps, 0, len(h.Gaps))
}

// lost is the rest, lost to a cause.
func (r *rest) lost(cause string) []lost {
	list := slices.Clone(r.gaps)
	for session, spans := range r.spans {
		for _, s := range *spans {
			l := lost{Session: session, First: s.First, Last: s.Last, Cause: cause, Records: s.Last - s.First + 1}
			if len(r.spans) == 1 && len(*spans) == 1 {
				l.Kinds = r.kinds
			}
			list = append(list, l)
		}
	}
	return list
}

// ticket is an entry that a sender took.
type ticket struct {
	*entry
	part     *part
	position int
}

// eventsDir is the journal's directory below that of the spool.
const eventsDir = "events"

// openEvents reads what earlier sessions left. found gets the header of each
// entry in order, cannotRead what was not told yet of a segment that cannot be
// read to its end. The error says what is damaged.
func openEvents(s *Spool, dir string, from state, found func(*header), cannotRead func(err error, entries int)) (*eventLane, error) {
	l := &eventLane{s: s, mark: from.Mark}
	s.events = l // a disk may fail while it is read
	if dir == "" {
		return l, nil
	}
	var err error
	l.journal, err = openJournal(filepath.Join(dir, eventsDir), s.options.Log)
	errs := []error{err}
	for _, segment := range slices.Clone(l.journal.files) {
		if segment < from.Segment {
			errs = append(errs, l.journal.remove(segment))
			continue
		}
		p := &part{segment: segment, early: map[int]mark{}}
		if segment == from.Segment {
			p.settled, p.mark = from.Entries, from.Mark
		}
		if err := l.scan(p, found); err != nil {
			if p.damaged = true; !slices.Contains(from.Damaged, segment) {
				cannotRead(err, p.entries)
				if !errors.Is(err, errTorn) {
					errs = append(errs, err)
				}
			}
		}
		p.settled = min(p.settled, p.entries)
		p.taken, p.done = p.settled, p.settled
		l.parts = append(l.parts, p)
		l.bytes += p.bytes
	}
	l.sweep()
	return l, errors.Join(errs...)
}

// scan counts what a segment of an earlier session holds, up to where it is
// damaged.
func (l *eventLane) scan(p *part, found func(*header)) error {
	reader, err := openSegment(l.journal.path(p.segment))
	if err != nil {
		return err
	}
	defer reader.close()
	for {
		record, err := reader.next()
		if err == io.EOF {
			return nil
		}
		var e *entry
		if err == nil {
			e, err = unmarshal(record)
		}
		if err != nil {
			return err
		}
		if p.began.IsZero() {
			p.began = e.Appended
		}
		p.entries++
		p.bytes += int64(len(record))
		found(&e.header)
		if p.entries > p.settled {
			if p.oldest.IsZero() {
				p.oldest = e.Appended
			}
			p.rest.add(&e.header)
		}
	}
}

// append takes entries to the disk, or to memory where the disk takes nothing.
func (l *eventLane) append(entries []*entry) {
	if l.writable() {
		if err := l.write(entries); err == nil {
			return
		} else {
			l.s.diskFailed(err)
		}
	}
	for _, e := range entries {
		l.remember(e)
	}
	l.sweep()
}

func (l *eventLane) writable() bool { return l.journal != nil && l.journal.wal != nil }

// write puts entries into the journal's current segment.
func (l *eventLane) write(entries []*entry) error {
	p := l.last()
	if p.entries > 0 && (p.bytes >= l.s.segmentBytes() || time.Since(p.began) > l.s.options.EventsAge/8) {
		if err := l.finishWriting(p); err != nil {
			return err
		}
		p = l.last()
		l.sweep()
	}
	records := make([][]byte, len(entries))
	for i, e := range entries {
		records[i] = e.marshal()
	}
	if err := l.journal.append(records...); err != nil {
		return err
	}
	for i, e := range entries {
		p.put(e, int64(len(records[i])))
		l.bytes += int64(len(records[i]))
	}
	return nil
}

// finishWriting begins a new segment, if the part is the one that is written.
func (l *eventLane) finishWriting(p *part) error {
	if !l.writable() || p.segment != l.journal.current() {
		return nil
	}
	if err := l.journal.rotate(); err != nil {
		return err
	}
	l.newPart(l.journal.current())
	return nil
}

// remember keeps an entry in memory.
func (l *eventLane) remember(e *entry) {
	p := l.last()
	if p == nil || p.segment != inMemory || p.bytes >= l.s.options.MemoryBytes/8 {
		p = l.newPart(inMemory)
	}
	p.memory = append(p.memory, e)
	p.put(e, int64(len(e.body)))
	l.bytes += int64(len(e.body))
}

func (p *part) put(e *entry, bytes int64) {
	if p.entries == 0 {
		p.began = e.Appended
	}
	if p.done == p.entries {
		p.oldest = e.Appended
	}
	p.entries++
	p.bytes += bytes
	p.rest.add(&e.header)
}

func (l *eventLane) newPart(segment int) *part {
	p := &part{segment: segment, early: map[int]mark{}}
	l.parts = append(l.parts, p)
	return p
}

func (l *eventLane) last() *part {
	if len(l.parts) == 0 {
		return nil
	}
	return l.parts[len(l.parts)-1]
}

// resume writes to the disk again, what waits in memory first.
func (l *eventLane) resume() error {
	if err := l.journal.resume(); err != nil {
		return err
	}
	waiting := slices.DeleteFunc(slices.Clone(l.parts), func(p *part) bool { return p.segment != inMemory })
	l.newPart(l.journal.current())
	for _, p := range waiting {
		if p.taken == p.entries {
			continue
		}
		if err := l.write(p.memory[p.taken:]); err != nil {
			return err
		}
		l.cut(p)
	}
	l.sweep()
	return nil
}

// cut forgets the rest of a part: it is somewhere else, or lost.
func (l *eventLane) cut(p *part) {
	p.entries, p.rest = p.taken, rest{}
	if p.segment == inMemory {
		p.memory = p.memory[:p.taken]
	}
}

// take gives the oldest entry that no sender has yet; nil where there is none, or
// where enough is in flight.
func (l *eventLane) take() *ticket {
	if l.flying >= eventBytesInFlight {
		return nil
	}
	for i := 0; i < len(l.parts); {
		p := l.parts[i]
		if p.taken == p.entries {
			i++
			continue
		}
		e, err := l.read(p)
		if err != nil {
			p.damaged = true
			l.s.show(func(status *event.Delivery) { status.Damaged++ })
			l.s.options.Log.Error("A part of the spool cannot be read: its rest is lost and counted", "err", err, "records", sum(p.rest.kinds))
			l.drop(p, CauseCorrupt)
			i = 0
			continue
		}
		p.taken++
		p.rest.remove(&e.header)
		l.sending, l.flying = l.sending+e.records(), l.flying+len(e.body)
		return &ticket{e, p, p.taken - 1}
	}
	return nil
}

func (l *eventLane) read(p *part) (*entry, error) {
	if p.segment == inMemory {
		e := p.memory[p.taken]
		p.memory[p.taken] = nil
		return e, nil
	}
	if p.reader == nil {
		reader, err := openSegment(l.journal.path(p.segment))
		if err != nil {
			return nil, err
		}
		p.reader = reader
		for range p.taken {
			if _, err := reader.next(); err != nil {
				return nil, err
			}
		}
	}
	record, err := p.reader.next()
	if err == io.EOF {
		err = fmt.Errorf("segment %d of the spool ends early", p.segment)
	}
	if err != nil {
		return nil, err
	}
	return unmarshal(record)
}

// settle is told that the fate of an entry is known.
func (l *eventLane) settle(t *ticket) {
	p := t.part
	p.done++
	l.sending, l.flying = l.sending-t.records(), l.flying-len(t.body)
	p.early[t.position] = t.mark()
	for {
		end, is := p.early[p.settled]
		if !is {
			break
		}
		delete(p.early, p.settled)
		p.settled, p.mark = p.settled+1, end
	}
	if t.position < p.settled && t.Appended.After(p.oldest) {
		p.oldest = t.Appended
	}
	l.sweep()
}

// drop loses the rest of a part to a cause.
func (l *eventLane) drop(p *part, cause string) {
	gone, kinds := p.rest.lost(cause), p.rest.kinds
	l.cut(p)
	// Told before the room is freed: should the sensor end in between, records
	// that are still there are sent, which is no harm.
	l.s.lose(cause, kinds, gone)
	l.sweep()
}

// sweep frees the parts of which everything is settled, but for the one that is
// written.
func (l *eventLane) sweep() {
	l.parts = slices.DeleteFunc(l.parts, func(p *part) bool {
		writing := l.writable() && p.segment == l.journal.current()
		if p.done < p.entries || writing {
			return false
		}
		if p.reader != nil {
			p.reader.close()
		}
		if p.segment != inMemory {
			if p.settled > 0 {
				l.mark = p.mark
			}
			if err := l.journal.remove(p.segment); err != nil {
				l.s.diskFailed(err)
			}
		}
		l.bytes -= p.bytes
		return true
	})
}

// bound keeps the lane within its bytes and its age: the oldest events go.
func (l *eventLane) bound(now time.Time) {
	for _, p := range slices.Clone(l.parts) {
		if p.taken == p.entries || now.Sub(p.rest.newest) <= l.s.options.EventsAge {
			continue
		}
		if err := l.finishWriting(p); err != nil {
			l.s.diskFailed(err)
		}
		l.drop(p, CauseExpired)
	}
	for l.inParts(false) > l.s.options.EventsBytes {
		if !l.dropOldest(false, CauseFull) {
			break
		}
	}
	for l.inParts(true) > l.s.options.MemoryBytes {
		// On a full disk the oldest are there: without them there is room again.
		if l.s.diskFull() && l.dropOldest(false, CauseFull) {
			l.s.tryDisk(now, true)
			continue
		}
		if !l.dropOldest(true, CauseMemory) {
			break
		}
	}
}

// inParts are the bytes in memory, or on disk.
func (l *eventLane) inParts(memory bool) (bytes int64) {
	for _, p := range l.parts {
		if (p.segment == inMemory) == memory {
			bytes += p.bytes
		}
	}
	return bytes
}

// dropOldest drops the oldest part that has a rest, in memory or on disk, and
// reports whether there was one. The part that is written is spared.
func (l *eventLane) dropOldest(memory bool, cause string) bool {
	for _, p := range l.parts {
		if (p.segment == inMemory) == memory && p.taken < p.entries && p != l.last() {
			l.drop(p, cause)
			return true
		}
	}
	return false
}

// cursor is where sending goes on after a restart, and the end of what lies
// before.
func (l *eventLane) cursor() (segment, entries int, end mark) {
	for _, p := range l.parts {
		if p.segment == inMemory {
			continue
		}
		if p.settled > 0 {
			return p.segment, p.settled, p.mark
		}
		return p.segment, 0, l.mark
	}
	return 0, 0, l.mark
}

// damaged are the segments whose damage was told.
func (l *eventLane) damaged() (segments []int) {
	for _, p := range l.parts {
		if p.damaged {
			segments = append(segments, p.segment)
		}
	}
	return segments
}

// onlyInMemory reports whether entries would be lost with the process.
func (l *eventLane) onlyInMemory() bool {
	return slices.ContainsFunc(l.parts, func(p *part) bool { return p.segment == inMemory && p.done < p.entries })
}

// waiting is how many records are not settled, and when the oldest of them was
// appended.
func (l *eventLane) waiting() (records uint64, oldest time.Time) {
	records = l.sending
	for _, p := range l.parts {
		records += sum(p.rest.kinds)
		if p.done < p.entries && oldest.IsZero() {
			oldest = p.oldest
		}
	}
	return records, oldest
}

func (l *eventLane) close() error {
	for _, p := range l.parts {
		if p.reader != nil {
			p.reader.close()
		}
	}
	if l.journal == nil {
		return nil
	}
	return l.journal.close()
}

// makeDirs makes the directories of a spool.
func makeDirs(dir string) error {
	for _, name := range []string{dir, filepath.Join(dir, eventsDir), filepath.Join(dir, snapshotsDir)} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			return err
		}
	}
	return nil
}
