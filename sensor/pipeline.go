package sensor

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/deliver"
	"github.com/netview-project/netview/sensor/libc"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/rights"
)

// Sensor is the whole agent. The data's way: sockets and processes → snapshot →
// spool → collector, with the newest snapshot shown to Prometheus; and beside it
// kernel → probe → happenings → spool.
type Sensor struct {
	config    Config
	log       *slog.Logger
	resource  event.Resource
	snapshots *snapshots
	client    deliver.Client
	spool     atomic.Pointer[deliver.Spool] // nil without an endpoint, and before Run
	probe     atomic.Pointer[probe.Probe]   // nil before Run, and without --ebpf
	// happenings are nil before Run, and where the kernel tells nothing.
	happenings atomic.Pointer[happenings]
	libcs      atomic.Pointer[libc.Finder] // nil where no lookups are told
	newest     atomic.Pointer[shown]
	failures   atomic.Uint64
}

// shown is what stays of the newest heartbeat when its rows are in the spool: they
// are the most that a sensor holds.
type shown struct {
	*event.Summary // nil before the first
	collections    []event.Collection
	churn          event.Churn
	limits         *event.Limits
}

// New makes a sensor; it does no I/O but to ask who the host is, and to see that
// its certificates can be read.
func New(config Config, log *slog.Logger) (*Sensor, error) {
	if err := config.Check(); err != nil {
		return nil, err
	}
	resource, err := identify(&config)
	if err != nil {
		return nil, err
	}
	s := &Sensor{config: config, log: log, resource: resource}
	s.snapshots = newSnapshots(&s.config, resource, log)
	if config.Endpoint != "" {
		if s.client, err = deliver.NewClient(config.Endpoint, config.Security); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Resource identifies the sensor.
func (s *Sensor) Resource() event.Resource { return s.resource }

// State returns the state now. It takes no lock that is held while anything is
// read, written or sent.
func (s *Sensor) State() event.State {
	state := event.State{Now: time.Now(), Losses: map[string]uint64{}, Failures: s.failures.Load()}
	if newest := s.newest.Load(); newest != nil {
		state.Snapshot, state.Collections, state.Churn, state.Limits = newest.Summary, newest.collections, newest.churn, newest.limits
	}
	if state.Snapshot != nil {
		maps.Copy(state.Losses, state.Snapshot.Heartbeat.Losses)
	}
	maps.Copy(state.Losses, s.probe.Load().Lost())
	if h := s.happenings.Load(); h != nil {
		state.Kernel = h.state()
		if libcs := s.libcs.Load(); libcs != nil {
			state.Kernel.DNS.Libraries = libcs.State().Counts()
		}
		maps.Copy(state.Losses, h.lost())
	}
	if spool := s.spool.Load(); spool != nil {
		status := spool.Status()
		state.Delivery = &status
		maps.Copy(state.Losses, status.Losses())
	}
	return state
}

// Run takes and sends snapshots until ctx ends. It fails only at the start: when
// nothing can be read, another sensor uses its spool, or rights cannot be dropped.
func (s *Sensor) Run(ctx context.Context) (failed error) {
	// The spool has to end with Run also where Run fails.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Already now, so that a spool which only these rights open is not relied on.
	if err := s.drop(rights.KeepToStart); err != nil {
		return err
	}
	var sending sync.WaitGroup
	var spool *deliver.Spool
	if s.client != nil {
		defer s.client.Close()
		var err error
		if spool, err = s.openSpool(); err != nil {
			return err
		}
		defer func() {
			stop()
			sending.Wait()
			failed = errors.Join(failed, spool.Close())
		}()
	}
	stopWatching := func() {}
	if s.config.EBPF {
		p := probe.Open(s.log, s.config.leftOut()...)
		s.probe.Store(p)
		defer func() {
			stopWatching()
			failed = errors.Join(failed, p.Close())
		}()
	}
	// Before any of what was opened is put to work: package rights says why.
	if err := s.drop(rights.KeepToRun); err != nil {
		return err
	}
	if spool != nil {
		sending.Go(func() { spool.Run(ctx) })
	}
	if s.config.EBPF {
		stopWatching = s.watch(ctx, s.probe.Load())
	}
	if err := s.beat(); err != nil {
		return err
	}
	s.warnOfRights()
	ticker := newTicker(s.config.Interval, s.resource.SensorID)
	for ticker.wait(ctx) {
		if err := s.beat(); err != nil {
			s.failures.Add(1)
			s.log.Error("This heartbeat is lost", "err", err)
		}
	}
	return nil
}

// syncPatience bounds the wait of a heartbeat for what the kernel told before it.
// A flow that is judged too early is judged again by the next.
const syncPatience = time.Second

// watch takes what the programs in the kernel tell, until what it returns is called.
func (s *Sensor) watch(ctx context.Context, p *probe.Probe) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	keep := func([]event.Event) {}
	if spool := s.spool.Load(); spool != nil {
		keep = spool.AppendEvents
	}
	h := newHappenings(s.resource, &s.snapshots.processes, keep)
	h.dropped = p.Dropped
	if p.Tells() {
		h.told = p.On(probe.FeatureDNS) || p.On(probe.FeatureLookup)
		s.happenings.Store(h)
		s.snapshots.happenings = h
		s.snapshots.sync = func() {
			ctx, cancel := context.WithTimeout(ctx, syncPatience)
			defer cancel()
			p.Sync(ctx)
		}
	}
	var watching sync.WaitGroup
	finder := libc.New(s.config.Proc, p, s.log)
	if p.On(probe.FeatureLookup) {
		s.libcs.Store(finder)
		watching.Go(func() { finder.Run(ctx, s.config.Interval) })
	}
	watching.Go(func() {
		if err := p.Run(ctx, handler(h, finder)); err != nil {
			s.log.Error("Nothing is heard of the kernel any more", "err", err)
		}
		h.end()
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

// handler of what the kernel tells.
func handler(h *happenings, libcs *libc.Finder) probe.Handler {
	return probe.Handler{Event: h.take, Packet: h.takePacket, Exec: libcs.Exec, Idle: h.flush, Lookup: func(l *probe.Lookup) {
		if l.Twin != 0 {
			libcs.Twins(l.Library, l.Twin)
		}
		h.takeLookup(l, libcs.Path(l.Library))
	}}
}

// drop gives up rights, unless it is told to keep them.
func (s *Sensor) drop(keep func() (kept []string, err error)) error {
	if !s.config.DropCapabilities {
		return nil
	}
	kept, err := keep()
	if err != nil {
		return err
	}
	s.log.Debug("Dropped capabilities", "kept", strings.Join(kept, " "))
	return nil
}

// warnOfRights says which features are off for want of rights, after a heartbeat.
func (s *Sensor) warnOfRights() {
	var features []string
	for name, state := range s.newest.Load().Heartbeat.Features {
		if strings.HasPrefix(state, event.FeatureOff) && len(rights.Missing(name)) > 0 {
			features = append(features, name)
		}
	}
	if len(features) == 0 {
		return
	}
	slices.Sort(features)
	s.log.Warn("Features are off for want of capabilities; `netview-sensor check` says more",
		"features", strings.Join(features, " "), "capabilities", strings.Join(rights.Missing(features...), " "))
}

func (s *Sensor) openSpool() (*deliver.Spool, error) {
	options := s.config.Spool
	options.Client, options.Resource, options.Log = s.client, s.resource, s.log
	spool, err := deliver.Open(options)
	if err == nil {
		s.spool.Store(spool)
	}
	return spool, err
}

// Take reads the host as each heartbeat does, and returns the snapshot without
// sending or showing it. The error says that no sockets could be read. It must
// not be called while Run or another Take runs.
func (s *Sensor) Take() (*event.Snapshot, error) {
	f, err := s.snapshots.take()
	return f.snapshot, err
}

func (s *Sensor) beat() error {
	f, err := s.snapshots.take()
	if err != nil {
		failed := &shown{collections: f.collections}
		if newest := s.newest.Load(); newest != nil {
			failed.Summary, failed.churn, failed.limits = newest.Summary, newest.churn, newest.limits
		}
		s.newest.Store(failed)
		return err
	}
	h := f.snapshot.Heartbeat
	maps.Copy(h.Losses, s.probe.Load().Lost())
	if happenings := s.happenings.Load(); happenings != nil {
		maps.Copy(h.Losses, happenings.lost())
	}
	maps.Copy(h.Features, featureStates(probeFeatures(s.probe.Load())))
	if s.probe.Load().Tells() {
		h.Mode = event.ModeEBPF
	}
	if spool := s.spool.Load(); spool != nil {
		status := spool.Status()
		maps.Copy(h.Losses, status.Losses())
		maps.Copy(h.Features, featureStates([]Feature{spoolFeature(status.Disk)}))
		spool.AppendSnapshot(f.snapshot)
	}
	s.newest.Store(&shown{f.snapshot.Summarize(), f.collections, f.churn, &f.limits})
	return nil
}

// ticker beats at fixed points of the wall clock, spread over the interval by
// the sensor's name so that a fleet does not beat as one.
type ticker struct {
	interval, offset time.Duration
}

func newTicker(interval time.Duration, sensorID string) ticker {
	hash := fnv.New64a()
	hash.Write([]byte(sensorID))
	return ticker{interval, time.Duration(hash.Sum64() % uint64(interval))}
}

// next is the first point after a moment, both since 1970. Wall time, unlike
// the boot clock, is the same on every host: only on it can points be spread.
func (t ticker) next(now time.Duration) time.Duration {
	return now - (now-t.offset)%t.interval + t.interval
}

// wait sleeps until the next point; it returns false when ctx ends.
func (t ticker) wait(ctx context.Context) bool {
	now := time.Duration(time.Now().UnixNano())
	timer := time.NewTimer(t.next(now) - now)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
