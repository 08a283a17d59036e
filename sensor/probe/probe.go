// Package probe brings the programs of sensor/bpf into the kernel and reads what
// they tell. Which hooks a kernel has is found by trial: each program is loaded
// and attached by itself, and one that is refused, or that tells nothing of what
// the sensor then does itself, costs its own feature alone.
package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/bpf"
)

// Event is what the kernel tells of a socket; sensor/bpf/wire.h explains it.
type Event = bpf.StateNvSocketEvent

// FamilyIPv4 is [Event].Family of IPv4; IPv6 is the only other.
const FamilyIPv4 = unix.AF_INET

// ProtocolUDP is [Event].Protocol of UDP; TCP is the only other.
const ProtocolUDP = unix.IPPROTO_UDP

// Comm is the name of the owner.
func Comm(e *Event) []byte { return comm(&e.Comm) }

// Probe is what is in the kernel. A nil Probe tells nothing.
type Probe struct {
	log      *slog.Logger
	features []Feature
	// shared are the maps of all programs, attached what runs, by feature.
	shared         map[string]*ebpf.Map
	attached       map[string][]io.Closer
	programs       []*ebpf.Program
	reader         *ringbuf.Reader // nil where nothing is told
	losses         *ebpf.Memory
	lookups        map[string]*ebpf.Program // nil where the feature is off
	returnsAreSafe func() error             // why no return address may be changed; nil where it may
	generation     *ebpf.Memory             // of roots; nil where the feature is off
	generations    uint32
	test           selfTest
	early          [][]byte // records that others made during the self-tests
	earlyBytes     int
	crowdedOut     uint64 // records that early had no room for
	garbled        atomic.Uint64
	missedBefore   atomic.Uint64
	// looked is closed, and made anew, when the ring buffer was read to its end.
	looked atomic.Pointer[chan struct{}]
}

// Open loads what the kernel takes, but for features that are left out. It never
// fails: without the feature [FeatureFlow] there are no events, and
// [Probe.Features] says why.
func Open(log *slog.Logger, leftOut ...string) *Probe { return open(log, candidates, leftOut...) }

func open(log *slog.Logger, candidates []candidate, leftOut ...string) *Probe {
	p := &Probe{log: log, shared: map[string]*ebpf.Map{}, attached: map[string][]io.Closer{}}
	looked := make(chan struct{})
	p.looked.Store(&looked)
	// Needed before 5.11 only; where it is not permitted, loading tells.
	if err := rlimit.RemoveMemlock(); err != nil {
		log.Debug("RLIMIT_MEMLOCK cannot be raised", "err", err)
	}
	p.choose(candidates, leftOut)
	return p
}

// Features tells of every feature, on or off.
func (p *Probe) Features() []Feature {
	if p != nil {
		return p.features
	}
	list := names(candidates)
	for i := range list {
		list[i].Err = errNotAsked
	}
	return list
}

// Tells reports whether any events come.
func (p *Probe) Tells() bool { return p != nil && p.reader != nil }

// flushEvery is how often the ring buffer is looked at: waking the reader for
// each event costs more than making it.
const flushEvery = 50 * time.Millisecond

// Handler is told what comes from the kernel, by type of record, in the order in
// which it was made. What a func is given is valid for the time of the call; one
// that is nil is told nothing.
type Handler struct {
	Event  func(*Event)
	Packet func(Packet)
	Lookup func(*Lookup)
	// Exec is told of a process that may have a libc which is new.
	Exec func(pid uint32)
	// Idle is called after each look at the ring buffer.
	Idle func()
}

// Run tells the handler of each record until ctx ends.
func (p *Probe) Run(ctx context.Context, handler Handler) error {
	if p.reader == nil {
		<-ctx.Done()
		return nil
	}
	go func() {
		ticker := time.NewTicker(flushEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_ = p.reader.Flush() // its only error is that of a closed reader
			case <-ctx.Done():
				_ = p.reader.Close()
				return
			}
		}
	}()
	for _, sample := range p.early {
		p.handle(sample, &handler)
	}
	p.early = nil
	var record ringbuf.Record
	for {
		switch err := p.reader.ReadInto(&record); {
		case err == nil:
			p.handle(record.RawSample, &handler)
		case errors.Is(err, ringbuf.ErrFlushed):
			if handler.Idle != nil {
				handler.Idle()
			}
			next := make(chan struct{})
			close(*p.looked.Swap(&next))
		case errors.Is(err, ringbuf.ErrClosed):
			return nil
		default:
			return fmt.Errorf("reading the ring buffer: %w", err)
		}
	}
}

// Sync returns when [Probe.Run] has handled what the kernel had told before, or
// when ctx ends.
func (p *Probe) Sync(ctx context.Context) {
	if !p.Tells() {
		return
	}
	// A look that is under way may be past what has just been told: the next is not.
	for range 2 {
		looked := *p.looked.Load()
		if p.reader.Flush() != nil {
			return // closed
		}
		select {
		case <-looked:
		case <-ctx.Done():
			return
		}
	}
}

func (p *Probe) handle(sample []byte, handler *Handler) {
	if !hand(sample, handler) {
		p.garbled.Add(1)
	}
}

// hand gives a record to whom its type concerns, and reports whether it has the
// form of that type.
func hand(sample []byte, handler *Handler) bool {
	switch typeOf(sample) {
	case bpf.StateNvTypeNV_CONNECT, bpf.StateNvTypeNV_ACCEPT, bpf.StateNvTypeNV_LISTEN, bpf.StateNvTypeNV_CLOSE, bpf.StateNvTypeNV_LSM_CONNECT:
		e, ok := decode(sample)
		if ok && handler.Event != nil {
			handler.Event(e)
		}
		return ok
	case bpf.StateNvTypeNV_PACKET:
		packet, ok := decodePacket(sample)
		if ok && handler.Packet != nil {
			handler.Packet(packet)
		}
		return ok
	case bpf.StateNvTypeNV_LOOKUP:
		l, ok := decodeLookup(sample)
		if ok && handler.Lookup != nil {
			handler.Lookup(l)
		}
		return ok
	case bpf.StateNvTypeNV_EXEC:
		pid, ok := decodeExec(sample)
		if ok && handler.Exec != nil {
			handler.Exec(pid)
		}
		return ok
	}
	return false
}

// typeOf a record is what it begins with; 0 is none.
func typeOf(sample []byte) bpf.StateNvType {
	if len(sample) < 4 {
		return 0
	}
	return bpf.StateNvType(binary.NativeEndian.Uint32(sample))
}

const eventSize = int(unsafe.Sizeof(Event{}))

// decode looks at a record in place. The ring buffer aligns records by 8 bytes,
// and so does [ringbuf.Record], whose memory is that of a slice of its own.
func decode(sample []byte) (*Event, bool) {
	if len(sample) != eventSize {
		return nil, false
	}
	return (*Event)(unsafe.Pointer(unsafe.SliceData(sample))), true
}

// Close takes everything out of the kernel.
func (p *Probe) Close() error {
	var errs []error
	if p.reader != nil {
		errs = append(errs, p.reader.Close())
	}
	for _, closers := range p.attached {
		for _, c := range closers {
			errs = append(errs, c.Close())
		}
	}
	for _, m := range p.shared {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
