// Package probe brings the programs of sensor/bpf into the kernel and reads what
// they tell. Which hooks a kernel has is found by trial: each program is loaded
// and attached by itself, and one that is refused costs its own feature alone.
package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/bpf"
)

// Event is what the kernel tells of a socket; sensor/bpf/wire.h explains it.
type Event = bpf.StateNvSocketEvent

// FamilyIPv4 is [Event].Family of IPv4; IPv6 is the only other.
const FamilyIPv4 = unix.AF_INET

// Comm is the name of the owner.
func Comm(e *Event) string {
	comm := unsafe.Slice((*byte)(unsafe.Pointer(&e.Comm)), len(e.Comm))
	name, _, _ := bytes.Cut(comm, []byte{0})
	return string(name)
}

// Causes of loss on the way from the kernel, as in metrics and heartbeat.
const (
	// CauseRing: the ring buffer was full.
	CauseRing = "bpf_ring_full"
	// CauseOwners: the map of owners was full; the connection's end has no process.
	CauseOwners = "bpf_owners_full"
	// CauseDecode: a record had another length than this version's.
	CauseDecode = "bpf_decode"
)

// Causes lists every cause, for metrics that start at zero.
func Causes() []string { return []string{CauseRing, CauseOwners, CauseDecode} }

// Features that a kernel may give.
const (
	// FeatureFlow: connections that end, with their bytes, and attempts to connect
	// to which the network had an answer.
	FeatureFlow = "flow"
	// FeatureConnect: attempts that fail on the host itself, such as those without
	// a route.
	FeatureConnect = "connect"
	// FeatureAccept: the process of a connection that was accepted.
	FeatureAccept = "accept"
)

// Feature is what became of one.
type Feature struct {
	Name string
	// Hook that it rests on, where it is on.
	Hook string
	// Err is why it is off, and Remedy what may help; nil where it is on.
	Err    error
	Remedy string
}

var errNotAsked = errors.New("not asked for (--ebpf)")

// Probe is what is in the kernel. A nil Probe tells nothing.
type Probe struct {
	features []Feature
	// shared are the maps of all programs, attached what runs, by feature.
	shared   map[string]*ebpf.Map
	attached map[string][]io.Closer
	reader   *ringbuf.Reader // nil where nothing is told
	early    []Event         // that others made during the self-test
	garbled  atomic.Uint64
}

// candidate is an object whose programs make a feature together.
type candidate struct {
	feature, hook string
	load          func() (*ebpf.CollectionSpec, error)
	attach        func(*ebpf.Collection) ([]link.Link, error)
}

// candidates in the order in which they are loaded: the first brings the maps
// that all share.
var candidates = []candidate{
	{FeatureFlow, "tp_btf/inet_sock_set_state", bpf.LoadState, func(c *ebpf.Collection) ([]link.Link, error) {
		l, err := link.AttachTracing(link.TracingOptions{Program: c.Programs["state_changed"]})
		return []link.Link{l}, err
	}},
	{FeatureAccept, "tracepoint/syscalls/sys_exit_accept4, sys_exit_accept", bpf.LoadAccept, tracepoints(map[string]string{"sys_exit_accept4": "accept4_ended", "sys_exit_accept": "accept_ended"})},
	{FeatureConnect, "tracepoint/syscalls/sys_enter_connect, sys_exit_connect", bpf.LoadConnect, tracepoints(map[string]string{"sys_enter_connect": "connect_began", "sys_exit_connect": "connect_ended"})},
}

// tracepoints attaches programs to those of syscalls.
func tracepoints(programs map[string]string) func(*ebpf.Collection) ([]link.Link, error) {
	return func(c *ebpf.Collection) (links []link.Link, err error) {
		dir, done, err := tracefs()
		if err != nil {
			return nil, err
		}
		defer done()
		for point, program := range programs {
			l, err := tracepoint(dir, "syscalls", point, c.Programs[program])
			if err != nil {
				return links, err
			}
			links = append(links, l)
		}
		return links, nil
	}
}

// Open loads what the kernel takes. It never fails: without the first feature
// there are no events, and [Probe.Features] says why.
func Open(log *slog.Logger) *Probe {
	p := &Probe{shared: map[string]*ebpf.Map{}, attached: map[string][]io.Closer{}}
	// Needed before 5.11 only; where it is not permitted, loading tells.
	if err := rlimit.RemoveMemlock(); err != nil {
		log.Debug("RLIMIT_MEMLOCK cannot be raised", "err", err)
	}
	for i := range candidates {
		c := &candidates[i]
		f := Feature{Name: c.feature, Hook: c.hook}
		if p.reader == nil && i > 0 {
			f.Err = errRests
		} else if f.Err = p.add(c); f.Err != nil {
			f.Remedy = remedy(f.Err)
		}
		p.features = append(p.features, f)
	}
	if p.reader != nil {
		p.selfTest()
	}
	return p
}

// errRests is why features are off that tell nothing by themselves.
var errRests = fmt.Errorf("it rests on the feature %s", FeatureFlow)

// turnOff takes the programs of a feature out of the kernel, and with the first
// those of all.
func (p *Probe) turnOff(feature string, why error) {
	for i := range p.features {
		f := &p.features[i]
		switch {
		case f.Name == feature:
			f.Err, f.Remedy = why, remedy(why)
		case feature == FeatureFlow && f.Err == nil:
			f.Err = errRests
		default:
			continue
		}
		for _, c := range p.attached[f.Name] {
			_ = c.Close() // what cannot be taken out goes with the process
		}
		delete(p.attached, f.Name)
	}
	if feature == FeatureFlow {
		p.reader.Close()
		p.reader = nil
	}
}

func (p *Probe) add(c *candidate) error {
	spec, err := c.load()
	if err != nil {
		return err
	}
	replacements := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		if m := p.shared[name]; m != nil {
			replacements[name] = m
		}
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return err
	}
	links, err := c.attach(collection)
	for _, l := range links {
		if l != nil {
			p.attached[c.feature] = append(p.attached[c.feature], l)
		}
	}
	if err == nil && p.reader == nil {
		p.reader, err = ringbuf.NewReader(collection.Maps["events"])
	}
	if err != nil {
		collection.Close()
		return err
	}
	for name, m := range collection.Maps {
		if p.shared[name] == nil {
			p.shared[name] = m
		}
	}
	for _, program := range collection.Programs {
		p.attached[c.feature] = append(p.attached[c.feature], program)
	}
	return nil
}

// remedy is what may help against the refusal of a program.
func remedy(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "give the sensor CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN; where it has them, this kernel does not offer the hook"
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOENT):
		return "a kernel from 5.8 on with BTF (CONFIG_DEBUG_INFO_BTF) and this hook"
	}
	return "see the sensor's log, and report it with the kernel's release"
}

// Features tells of every feature, on or off.
func (p *Probe) Features() (list []Feature) {
	if p != nil {
		return p.features
	}
	for _, c := range candidates {
		list = append(list, Feature{Name: c.feature, Hook: c.hook, Err: errNotAsked})
	}
	return list
}

// Tells reports whether any events come.
func (p *Probe) Tells() bool { return p != nil && p.reader != nil }

// flushEvery is how often the ring buffer is looked at: waking the reader for
// each event costs more than making it.
const flushEvery = 50 * time.Millisecond

// Run calls handle with each event, which is valid for the time of the call, and
// idle after each look, until ctx ends.
func (p *Probe) Run(ctx context.Context, handle func(*Event), idle func()) error {
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
	for i := range p.early {
		handle(&p.early[i])
	}
	p.early = nil
	var record ringbuf.Record
	for {
		switch err := p.reader.ReadInto(&record); {
		case err == nil:
			p.handle(&record, handle)
		case errors.Is(err, ringbuf.ErrFlushed):
			idle()
		case errors.Is(err, ringbuf.ErrClosed):
			return nil
		default:
			return fmt.Errorf("reading the ring buffer: %w", err)
		}
	}
}

func (p *Probe) handle(record *ringbuf.Record, handle func(*Event)) {
	if e, ok := decode(record.RawSample); ok {
		handle(e)
	} else {
		p.garbled.Add(1)
	}
}

// decode looks at a record in place. The ring buffer aligns records by 8 bytes,
// and so does [ringbuf.Record], whose memory is that of a slice of its own.
func decode(sample []byte) (*Event, bool) {
	if len(sample) != int(unsafe.Sizeof(Event{})) {
		return nil, false
	}
	return (*Event)(unsafe.Pointer(unsafe.SliceData(sample))), true
}

// Lost counts losses since the programs were loaded, by cause.
func (p *Probe) Lost() map[string]uint64 {
	lost := map[string]uint64{CauseRing: 0, CauseOwners: 0, CauseDecode: 0}
	if !p.Tells() {
		return lost
	}
	lost[CauseDecode] = p.garbled.Load()
	m := p.shared["losses"]
	for index, cause := range map[bpf.StateNvLoss]string{bpf.StateNvLossNV_LOST_RING_FULL: CauseRing, bpf.StateNvLossNV_LOST_OWNERS_FULL: CauseOwners} {
		var perCPU []uint64
		if err := m.Lookup(index, &perCPU); err != nil {
			continue // it has all indexes; a later look counts what this one missed
		}
		for _, n := range perCPU {
			lost[cause] += n
		}
	}
	return lost
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
