package deliver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// journal is a directory of append-only segments, in the form of Prometheus's
// write-ahead log: pages of 32 KiB, a CRC-32C for each piece of a record. It
// never continues a segment that an earlier process wrote, so a torn end is at
// the end of a segment and costs only the record that was being written.
//
// Its methods must not be called at the same time, but for sync.
type journal struct {
	dir string
	log *slog.Logger

	wal *wlog.WL // nil while the disk does not take records
	// broken is a log whose last write failed. Until it can be closed, which
	// writes what it still holds, the disk takes nothing.
	broken *wlog.WL
	files  []int // the segments that have a file, sorted

	syncing  sync.Mutex // the segment that is written does not change while it is synced
	unsynced atomic.Int64
}

// largestLog keeps the log from beginning segments by itself: it would sync the
// one before without telling of an error.
const largestLog = 1 << 30

// openJournal finds the segments of a directory, which need not exist yet. It
// writes nothing.
func openJournal(dir string, log *slog.Logger) (*journal, error) {
	j := &journal{dir: dir, log: log}
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return j, fmt.Errorf("reading the spool: %w", err)
	}
	for _, name := range names {
		if n, err := strconv.Atoi(name.Name()); err == nil {
			j.files = append(j.files, n)
		}
	}
	slices.Sort(j.files)
	return j, nil
}

// resume begins a segment, the first or one after a failure. Its error says that
// the disk does not take records.
func (j *journal) resume() error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if j.broken != nil {
		if err := j.broken.Close(); err != nil {
			return fmt.Errorf("writing to the spool: %w", err)
		}
		j.broken = nil
	}
	wal, err := wlog.NewSize(j.log, nil, j.dir, largestLog, compression.None)
	if err != nil {
		return fmt.Errorf("beginning a segment of the spool: %w", err)
	}
	_, last, err := wlog.Segments(j.dir)
	if err != nil {
		return errors.Join(fmt.Errorf("listing the spool: %w", err), wal.Close())
	}
	j.wal = wal
	j.files = append(j.files, last)
	return nil
}

// current is the segment that is written.
func (j *journal) current() int { return j.files[len(j.files)-1] }

// append writes records. After an error, of which the disk is the cause, none
// of them counts as written.
func (j *journal) append(records ...[]byte) error {
	if err := j.wal.Log(records...); err != nil {
		j.fail()
		return fmt.Errorf("writing to the spool: %w", err)
	}
	for _, record := range records {
		j.unsynced.Add(int64(len(record)))
	}
	return nil
}

// fail gives up the segment that is written.
func (j *journal) fail() {
	j.syncing.Lock()
	j.wal, j.broken = nil, j.wal
	j.syncing.Unlock()
}

// rotate begins a new segment.
func (j *journal) rotate() error {
	if err := j.sync(); err != nil {
		return err
	}
	j.syncing.Lock()
	next, err := j.wal.NextSegmentSync()
	j.syncing.Unlock()
	if err != nil {
		j.fail()
		return fmt.Errorf("beginning a segment of the spool: %w", err)
	}
	j.files = append(j.files, next)
	return nil
}

// sync makes what was written survive the end of the host.
func (j *journal) sync() error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	n := j.unsynced.Load()
	if n == 0 || j.wal == nil {
		return nil
	}
	if err := j.wal.Sync(); err != nil {
		return fmt.Errorf("syncing the spool: %w", err)
	}
	j.unsynced.Add(-n)
	return nil
}

// remove frees the room of a segment that is not written any more. The log
// wants its segments without a hole: one in the middle stays as an empty file
// until those before it have gone.
func (j *journal) remove(segment int) error {
	if err := os.Truncate(j.path(segment), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("freeing a segment of the spool: %w", err)
	}
	for len(j.files) > 1 {
		info, err := os.Stat(j.path(j.files[0]))
		if err == nil && info.Size() > 0 {
			break
		}
		if err := os.Remove(j.path(j.files[0])); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing a segment of the spool: %w", err)
		}
		j.files = j.files[1:]
	}
	return nil
}

func (j *journal) path(segment int) string { return wlog.SegmentName(j.dir, segment) }

// close ends the log. What was written is synced.
func (j *journal) close() error {
	var errs []error
	if j.wal != nil {
		errs = append(errs, j.sync(), j.wal.Close())
		j.wal = nil
	}
	if j.broken != nil {
		errs = append(errs, j.broken.Close())
	}
	return errors.Join(errs...)
}

// segmentReader reads the records of a segment from its beginning. Of one that
// is being written it must read no more than are known to be there.
type segmentReader struct {
	file    *os.File
	records *wlog.Reader
	end     *endNoticer
}

// errTorn says that a segment ends in the middle of a record, as it does when
// its process was killed or its disk was full while it wrote.
var errTorn = errors.New("a record is torn")

// endNoticer notices that more was asked for than there is.
type endNoticer struct {
	io.Reader
	reached bool
}

func (e *endNoticer) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	e.reached = e.reached || err == io.EOF
	return n, err
}

func openSegment(path string) (*segmentReader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the spool: %w", err)
	}
	end := &endNoticer{Reader: file}
	// Without a buffer each piece of a record would take three reads.
	return &segmentReader{file, wlog.NewReader(bufio.NewReaderSize(end, 64<<10)), end}, nil
}

// next returns a record, valid until the next call. At the end of the segment
// the error is io.EOF; any other says where and how the segment is damaged, or
// that it is torn ([errTorn]).
func (r *segmentReader) next() ([]byte, error) {
	if r.records.Next() {
		return r.records.Record(), nil
	}
	if err := r.records.Err(); err != nil && r.end.reached {
		return nil, fmt.Errorf("segment %s of the spool: %w: %w", filepath.Base(r.file.Name()), errTorn, err)
	} else if err != nil {
		return nil, fmt.Errorf("segment %s of the spool is damaged: %w", filepath.Base(r.file.Name()), err)
	}
	return nil, io.EOF
}

func (r *segmentReader) close() { r.file.Close() }
