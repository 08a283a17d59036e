package deliver

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/netview-project/netview/event"
)

// entry is one OTLP request as it lies in the spool: encoded once, never cut or
// joined again, so that every attempt sends the same records.
type entry struct {
	header
	body []byte // protobuf of an ExportLogsServiceRequest, compressed by zstd
}

// header says what is in a request without the need to decode it.
type header struct {
	Session     uuid.UUID `json:"session"`
	First, Last uint64    // sequence numbers
	// Before is how many events of the session were appended before these: their
	// numbers have holes, since snapshots count on the same.
	Before   uint64                `json:"before"`
	Appended time.Time             `json:"appended"`
	Kinds    map[event.Kind]uint64 `json:"kinds"`
	// Gaps that the request tells of: where it is lost, they must be told again.
	Gaps []lost `json:"gaps,omitempty"`
}

// records is how many the request has.
func (h *header) records() uint64 { return h.Last - h.First + 1 }

// lost are numbers of a session that will never come.
type lost struct {
	Session     uuid.UUID
	First, Last uint64 // Last is 0 where it is not known
	Cause       string
	Records     uint64
	Kinds       map[event.Kind]uint64 `json:",omitempty"`
}

// event is the record that tells of it.
func (l *lost) event(envelope event.Envelope) *event.Gap {
	kinds := map[string]uint64{}
	for kind, n := range l.Kinds {
		kinds[string(kind)] = n
	}
	return &event.Gap{Envelope: envelope, OfSession: l.Session, First: l.First, Last: l.Last, Cause: l.Cause, Records: l.Records, Kinds: kinds}
}

// RecordsPerRequest is the most that one request has.
const RecordsPerRequest = 2000

// bytesPerRequest stays under the 4 MiB that gRPC servers accept by default, command
// lines or not: what is too large for the collector would never be taken.
const bytesPerRequest = 3 << 20

// The codecs are safe for concurrent use. One goroutine each: a sensor has the
// cores of others.
var (
	compressor   = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true)))
	decompressor = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30)))
)

// coders keep the memory of the last encoding for the next.
var coders = sync.Pool{New: func() any { return new(coder) }}

type coder struct {
	event.Encoder
	body []byte
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// encode makes the requests of records that have their sequence, in its order.
func encode(events []event.Event, now time.Time) []*entry {
	var entries []*entry
	for part := range slices.Chunk(events, RecordsPerRequest) {
		entries = append(entries, encodePart(part, now)...)
	}
	return entries
}

func encodePart(events []event.Event, now time.Time) []*entry {
	coder := coders.Get().(*coder)
	defer coders.Put(coder)
	coder.body = coder.Append(coder.body[:0], events)
	if half := len(events) / 2; half > 0 && len(coder.body) > bytesPerRequest {
		return append(encodePart(events[:half], now), encodePart(events[half:], now)...)
	}
	e := &entry{header: header{Session: events[0].Env().Session, First: events[0].Env().Sequence, Last: events[len(events)-1].Env().Sequence,
		Appended: now, Kinds: map[event.Kind]uint64{}}, body: compressor.EncodeAll(coder.body, nil)}
	for _, record := range events {
		e.Kinds[record.Kind()]++
		if gap, is := record.(*event.Gap); is {
			kinds := map[event.Kind]uint64{}
			for kind, n := range gap.Kinds {
				kinds[event.Kind(kind)] = n
			}
			e.Gaps = append(e.Gaps, lost{gap.OfSession, gap.First, gap.Last, gap.Cause, gap.Records, kinds})
		}
	}
	return []*entry{e}
}

// Requests encodes records that have their sequence, in its order, as what
// [Client.Send] takes: for a sender that keeps no spool.
func Requests(events []event.Event) [][]byte {
	var requests [][]byte
	for _, e := range encode(events, time.Time{}) {
		requests = append(requests, e.body)
	}
	return requests
}

// marshal is the form on disk: the header's length, the header as JSON, the body.
func (e *entry) marshal() []byte {
	text, err := json.Marshal(&e.header)
	if err != nil {
		panic(err) // its types have a JSON form
	}
	out := make([]byte, 0, binary.MaxVarintLen32+len(text)+len(e.body))
	return append(append(binary.AppendUvarint(out, uint64(len(text))), text...), e.body...)
}

// unmarshal reads what marshal made. The entry keeps no reference to the bytes.
func unmarshal(record []byte) (*entry, error) {
	length, n := binary.Uvarint(record)
	if n <= 0 || length > uint64(len(record)-n) {
		return nil, errors.New("an entry of the spool has no header")
	}
	e := &entry{body: slices.Clone(record[n+int(length):])}
	if err := json.Unmarshal(record[n:n+int(length)], &e.header); err != nil {
		return nil, fmt.Errorf("the header of an entry of the spool: %w", err)
	}
	if e.First == 0 || e.Last < e.First {
		return nil, fmt.Errorf("an entry of the spool has the numbers %d to %d", e.First, e.Last)
	}
	return e, nil
}

// add counts more records by kind.
func add(to, more map[event.Kind]uint64) {
	for kind, n := range more {
		to[kind] += n
	}
}

// subtract takes records away again.
func subtract(from, less map[event.Kind]uint64) {
	for kind, n := range less {
		from[kind] -= n
	}
	maps.DeleteFunc(from, func(_ event.Kind, n uint64) bool { return n == 0 })
}

func sum(kinds map[event.Kind]uint64) (total uint64) {
	for _, n := range kinds {
		total += n
	}
	return total
}
