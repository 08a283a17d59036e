// Package fleet makes the records of a fleet of sensors that do not exist, for
// tests, benchmarks and demonstrations. What a fleet does follows from its
// parameters alone: the same [Fleet] makes the same records, with the same
// identities, wherever it runs. Every choice is a slice of a hash that
// ClickHouse has too, so the same rows can be made inside it (inside.sql).
package fleet

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
)

// Version is the sensor_version of generated records, and Prefix what their
// sensor_id begins with: nobody can take them for a host's.
const (
	Version = "generated"
	Prefix  = "generated-"
)

// Fleet is what a fleet follows from.
type Fleet struct {
	// Seed of every choice.
	Seed uint64
	// Sensors, from 1 to [MaxSensors].
	Sensors int
	// Connections that a snapshot shows on average; a sensor has half of it to
	// one and a half times as many. From 1 to [MaxConnections].
	Connections int
	// Short connections that begin and end between two heartbeats of a sensor, on
	// average. From 0 to [MaxConnections].
	Short int
	// Start of the sessions, in milliseconds.
	Start time.Time
	// Interval between two heartbeats of a sensor, in milliseconds, from 1 s to 1 h.
	Interval time.Duration
	// Stories happen to some of the hosts: see stories.go.
	Stories bool
}

// The most that a fleet can have.
const (
	MaxSensors     = 2000
	MaxConnections = 100_000
)

// Check returns an error that names what is not valid.
func (f *Fleet) Check() error {
	switch {
	case f.Sensors < 1 || f.Sensors > MaxSensors:
		return fmt.Errorf("%d sensors: use 1 to %d", f.Sensors, MaxSensors)
	case f.Connections < 1 || f.Connections > MaxConnections:
		return fmt.Errorf("%d connections: use 1 to %d", f.Connections, MaxConnections)
	case f.Short < 0 || f.Short > MaxConnections:
		return fmt.Errorf("%d short connections: use 0 to %d", f.Short, MaxConnections)
	case f.Interval < time.Second || f.Interval > time.Hour || f.Interval%time.Millisecond != 0:
		return fmt.Errorf("an interval of %v: use whole milliseconds, from 1s to 1h", f.Interval)
	}
	return nil
}

// mix is the finalizer of MurmurHash3, which ClickHouse has as intHash64 of what
// is first changed by a constant.
func mix(x uint64) uint64 {
	x ^= 0x4cf2d2baae6da887
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// pick chooses one of n by the bits of a hash from shift on.
func pick(hash uint64, shift, n int) int { return int(hash >> shift % uint64(n)) }

// What is added to the key of a host for the hashes of its parts.
const (
	saltID = iota + 1
	saltSlots
	saltShort
	saltEphemeral
	saltPrograms
	saltBeats
	saltStories
)

// host is what never changes of one.
type host struct {
	key  uint64
	role int
}

func (f *Fleet) host(i int) host {
	key := mix(mix(f.Seed) + uint64(i))
	return host{key, roleOf[pick(key, 0, len(roleOf))]}
}

func (h host) part(salt uint64) uint64 { return mix(h.key + salt) }

func hostName(i int, h host) string {
	return fmt.Sprintf("%s-%04d.generated.example", roles[h.role].name, i)
}

// ephemeralPorts are the kernel's default: from first on, so many.
const (
	firstEphemeral = 32768
	ephemeralPorts = 28232
)

// services outside of the fleet that it talks with.
const services = 512

// Addresses: hosts of the fleet in a private range, others in those that are
// kept for benchmarks and documentation.
func hostAddress(i int, v6 bool) netip.Addr {
	if v6 {
		return numbered6(0xfd6e_7677, i)
	}
	return numbered4(10, 101, i)
}

func serviceAddress(i int, v6 bool) netip.Addr {
	if v6 {
		return numbered6(0x2001_0db8, i+1)
	}
	return numbered4(198, 18, i)
}

func numbered4(a, b byte, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{a, b, byte(i / 250), byte(i%250 + 1)})
}

func numbered6(prefix uint32, i int) netip.Addr {
	return netip.AddrFrom16([16]byte{byte(prefix >> 24), byte(prefix >> 16), byte(prefix >> 8), byte(prefix), 14: byte(i >> 8), 15: byte(i)})
}

// Sensor makes the records of one sensor, heartbeat by heartbeat. It is not safe
// for concurrent use.
type Sensor struct {
	Resource event.Resource
	fleet    *Fleet
	host     host
	index    int
	start    time.Time
	slots    []slot
	short    int
	pids     []uint32
	// containers by program, empty for those that run on the host.
	containers []string
	names      []string // of the hosts
	firstOf    string   // the role whose first host this is; empty for others
	// What was made so far.
	beat, sequence uint64
}

// MakeSensors makes the sensors of a fleet that [Fleet.Check] accepts.
func (f *Fleet) MakeSensors() []*Sensor {
	names := make([]string, f.Sensors+1)
	for i := range names {
		names[i] = hostName(i, f.host(i))
	}
	sensors := make([]*Sensor, f.Sensors)
	for i := range sensors {
		sensors[i] = f.sensor(i+1, names)
	}
	return sensors
}

func (f *Fleet) milliseconds() int { return int(f.Interval / time.Millisecond) }

func (f *Fleet) sensor(i int, names []string) *Sensor {
	h := f.host(i)
	id := h.part(saltID)
	session := mix(h.key + uint64(f.Start.UnixMilli()))
	s := &Sensor{fleet: f, host: h, index: i, names: names,
		start: f.Start.Add(time.Duration(pick(h.key, 40, f.milliseconds())) * time.Millisecond).UTC().Truncate(time.Millisecond),
		slots: make([]slot, max(1, f.Connections*(50+pick(h.key, 8, 101))/80)),
		short: f.Short * (50 + pick(h.key, 16, 101)) / 100,
		Resource: event.Resource{SensorID: fmt.Sprintf("%s%s-%04d", Prefix, roles[h.role].name, i), Session: sessionOf(session), Version: Version, HostName: names[i],
			HostID: fmt.Sprintf("%016x%016x", id, mix(id)), Arch: arches[pick(h.key, 24, len(arches))], KernelRelease: kernels[pick(h.key, 32, len(kernels))]}}
	for n := range s.slots {
		s.slots[n] = newSlot(mix(h.part(saltSlots) + uint64(n)))
	}
	if f.Stories && f.first(h.role) == i {
		s.firstOf = roles[h.role].name
	}
	for g, p := range programs {
		hash := mix(h.part(saltPrograms) + uint64(g))
		s.pids = append(s.pids, uint32(1000+pick(hash, 0, 28_000)))
		container := ""
		if p.container {
			container = fmt.Sprintf("%016x%016x%016x%016x", hash, mix(hash), mix(hash+1), mix(hash+2))
		}
		s.containers = append(s.containers, container)
	}
	return s
}

// first host of a role; 0 where there is none.
func (f *Fleet) first(role int) int {
	for i := 1; i <= f.Sensors; i++ {
		if f.host(i).role == role {
			return i
		}
	}
	return 0
}

// sessionOf is a UUID of version 8, whose bits are the maker's.
func sessionOf(hash uint64) (id uuid.UUID) {
	text := fmt.Sprintf("%016x%016x", hash, mix(hash))
	return uuid.MustParse(text[:8] + "-" + text[8:12] + "-8" + text[13:16] + "-9" + text[17:20] + "-" + text[20:])
}

// slot is a place in the snapshot. One connection after the other takes it, each
// for the same number of heartbeats; in some lives it is empty.
type slot struct {
	key           uint64
	period, phase int
}

func newSlot(key uint64) slot {
	var period int
	switch class := pick(key, 0, 100); {
	case class < 20: // seconds
		period = 2 + pick(key, 8, 4)
	case class < 80: // minutes
		period = 20 + pick(key, 8, 221)
	default: // hours
		period = 2000 + pick(key, 8, 4001)
	}
	return slot{key, period, pick(key, 24, period)}
}

// life is one connection: what the hash decides, and from which heartbeat on it
// was there. Heartbeats before the first are those before the sensor's start.
type life struct {
	hash  uint64
	begun int
	// period is for how many heartbeats it is there; 0 for a short one.
	period int
	// busy is false for the lives in which a slot is empty.
	busy bool
	// short is true for a connection between two heartbeats: begun is the second.
	short bool
}

// Hashes of a life beside its own.
const (
	saltInode = iota + 1
	saltTimes
	saltBytes
	saltAsk
	saltTCP
)

func (l life) part(salt uint64) uint64 { return mix(l.hash + salt) }

// at is the life of a slot at a heartbeat, and whether it is its first one.
func (s *slot) at(beat int) (l life, first bool) {
	k := (beat + s.phase) / s.period
	return s.life(k), beat == k*s.period-s.phase
}

func (s *slot) life(k int) life {
	hash := mix(s.key + uint64(k))
	return life{hash: hash, begun: k*s.period - s.phase, period: s.period, busy: pick(hash, 0, 100) < 80}
}

// Beat is what a sensor has to say at a heartbeat: what happened since the one
// before, and its snapshot. All records have their sequence.
type Beat struct {
	Events   []event.Event
	Snapshot *event.Snapshot
}

// NextTime is the time of the heartbeat that [Sensor.Next] makes.
func (s *Sensor) NextTime() time.Time { return s.time(int(s.beat) + 1) }

func (s *Sensor) time(beat int) time.Time {
	return s.start.Add(time.Duration(beat) * s.fleet.Interval)
}

// Next makes the next heartbeat.
func (s *Sensor) Next() Beat {
	s.beat++
	beat := int(s.beat)
	var b Beat
	var ended, live, asks []life
	begin := func(l life) {
		if s.outbound(l) {
			b.Events = append(b.Events, s.connect(l, s.connected(l)))
			asks = append(asks, l)
		}
	}
	for i := range s.slots {
		slot := &s.slots[i]
		l, first := slot.at(beat)
		if first {
			if l.busy {
				begin(l)
			}
			if before := slot.life((beat+slot.phase)/slot.period - 1); before.busy {
				ended = append(ended, before)
			}
		}
		if l.busy {
			live = append(live, l)
		}
	}
	for _, l := range s.storm(beat) {
		if l.begun == beat {
			begin(l)
		}
		if l.begun+l.period == beat {
			ended = append(ended, l)
		} else {
			live = append(live, l)
		}
	}
	for _, l := range ended {
		b.Events = append(b.Events, s.flow(l, s.beginning(l), s.time(beat).Add(-s.jitter(l, 32)), l.begun > 0))
	}
	short := s.shortLives(beat)
	for _, l := range short {
		begin(l)
	}
	for _, l := range short {
		begun, took := s.shortTime(l)
		b.Events = append(b.Events, s.flow(l, begun, begun.Add(took), true))
	}
	b.Events = append(b.Events, s.scan(beat)...)
	b.Events = append(b.Events, s.dns(asks)...)
	b.Snapshot = s.snapshot(live, len(b.Events))
	s.number(&b)
	return b
}

// number gives the sequence, in the order in which the beat is sent.
func (s *Sensor) number(b *Beat) {
	for _, e := range slices.Concat(b.Events, b.Snapshot.Rows(), []event.Event{b.Snapshot.Heartbeat}) {
		s.sequence++
		e.Env().Sequence = s.sequence
	}
}

// Skip makes and forgets so many heartbeats.
func (s *Sensor) Skip(beats uint64) {
	for range beats {
		s.Next()
	}
}

func (s *Sensor) shortLives(beat int) []life {
	lives := make([]life, s.short)
	key := mix(s.host.part(saltShort) + uint64(beat))
	for i := range lives {
		lives[i] = life{hash: mix(key + uint64(i)), begun: beat, short: true}
	}
	return lives
}

// jitter is how long before a heartbeat something happened.
func (s *Sensor) jitter(l life, shift int) time.Duration {
	return time.Duration(1+pick(l.part(saltTimes), shift, s.fleet.milliseconds()-1)) * time.Millisecond
}

func (s *Sensor) beginning(l life) time.Time { return s.time(l.begun).Add(-s.jitter(l, 0)) }

// shortTime is when a short connection began, in the first three quarters of the
// interval, and how long it took, less than the last.
func (s *Sensor) shortTime(l life) (begun time.Time, took time.Duration) {
	times, quarter := l.part(saltTimes), s.fleet.milliseconds()/4
	begun = s.time(l.begun - 1).Add(time.Duration(1+pick(times, 0, 3*quarter-1)) * time.Millisecond)
	return begun, time.Duration(1+pick(times, 32, quarter-1)) * time.Millisecond
}
