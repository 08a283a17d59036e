package sensor

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/flow"
	"github.com/netview-project/netview/sensor/process"
	"github.com/netview-project/netview/sensor/socket"
)

// bootClock reads the clock that durations come from: it neither jumps with the
// wall clock nor stops while the host sleeps.
func bootClock() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic("CLOCK_BOOTTIME is missing: " + err.Error()) // Linux has it since 2.6.39
	}
	return time.Duration(now.Nano())
}

// snapshots turns socket tables into snapshots, and remembers when it first saw
// each connection.
type snapshots struct {
	config    *Config
	resource  event.Resource
	sockets   socket.Reader
	processes process.Table
	table     socket.Table
	clock     func() time.Duration
	churn     churn
	limits    limits
	// happenings know the flows; nil without eBPF. sync waits until all is known
	// that the kernel has told.
	happenings *happenings
	sync       func()

	seen   flow.Sighting
	shared shared
	began  time.Duration // on the boot clock
	number uint64
	sights sights
}

func newSnapshots(config *Config, resource event.Resource, log *slog.Logger) *snapshots {
	return &snapshots{config: config, resource: resource, clock: bootClock, began: bootClock(), sights: sights{interval: config.Interval},
		sockets:   socket.Reader{Proc: config.Proc, Log: log},
		processes: process.Table{Proc: config.Proc, CommandLine: config.CommandLine, Scrub: config.scrub()}}
}

// found is what one heartbeat gives to those who show it.
type found struct {
	snapshot    *event.Snapshot // nil where nothing could be read
	collections []event.Collection
	churn       event.Churn
	limits      event.Limits
}

// take reads the host. Its error says that no sockets could be read. Without
// processes the sockets are shown alone.
func (s *snapshots) take() (found, error) {
	var f found
	begin := s.clock()
	collect := func(name string, read func() error) error {
		began := s.clock()
		err := read()
		f.collections = append(f.collections, event.Collection{Name: name, Took: s.clock() - began, Err: err})
		return err
	}
	// Sockets first: an owner found afterwards has the socket open, while the
	// other order would miss the processes that opened one in between.
	if err := collect(collectSockets, func() error { return s.sockets.Read(&s.table) }); err != nil {
		return f, err
	}
	_ = collect(collectProcesses, s.processes.Scan) // its error is that of a feature
	sortRows(s.table.Rows)
	if s.happenings != nil {
		s.sync() // so that a flow that ended meanwhile is not looked for
	}
	s.number++
	f.snapshot = &event.Snapshot{Heartbeat: &event.Heartbeat{Envelope: s.envelope(time.Now()), Heartbeat: s.number,
		Namespaces: uint64(s.table.Namespaces), Mode: event.ModeCompatibility, Interval: s.config.Interval}}
	s.fill(f.snapshot, begin)
	f.churn = s.churn.update(f.snapshot.Listeners, s.table.Seen)
	f.limits = s.limits.update(s.config.Proc, &s.table)
	h := f.snapshot.Heartbeat
	h.Uptime = (begin - s.began).Round(time.Millisecond)
	h.CollectDuration = (s.clock() - begin).Round(time.Millisecond)
	h.Losses = s.losses()
	h.Features = featureStates(features(f.collections, s.table.NoDiag))
	return f, nil
}

// losses counts what could not be read so far, by cause.
func (s *snapshots) losses() map[string]uint64 {
	losses := s.sockets.Counts()
	maps.Copy(losses, s.processes.Counts())
	return losses
}

func (s *snapshots) envelope(at time.Time) event.Envelope {
	return event.Envelope{Resource: s.resource, Timestamp: at.UTC().Truncate(time.Microsecond)}
}

// sortRows gives rows an order that hardly changes between two snapshots: in
// ClickHouse each then nearly repeats the one before, and compresses to little.
func sortRows(rows []socket.Row) {
	slices.SortFunc(rows, func(a, b socket.Row) int {
		return cmp.Or(cmp.Compare(a.Netns, b.Netns), a.Local.Compare(b.Local), a.Remote.Compare(b.Remote),
			cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Inode, b.Inode))
	})
}

func (s *snapshots) fill(snapshot *event.Snapshot, now time.Duration) {
	h := snapshot.Heartbeat
	s.sights.begin(now, s.table.Seen)
	if s.happenings == nil {
		s.rows(snapshot, func(*flow.Sighting) *flow.Flow { return nil })
	} else {
		snapshot.Flows = s.happenings.compare(h, now, s.table.Seen, func(see func(*flow.Sighting) *flow.Flow) { s.rows(snapshot, see) })
		h.Flows = event.Some(uint64(len(snapshot.Flows)))
	}
	h.Connections = uint64(len(snapshot.Connections))
	s.sights.end()
}

// rows makes the rows of connections and listeners, and asks for the flow of each
// connection.
func (s *snapshots) rows(snapshot *event.Snapshot, see func(*flow.Sighting) *flow.Flow) {
	h := snapshot.Heartbeat
	listening := listeningPorts(s.table.Rows)
	for i := range s.table.Rows {
		row := &s.table.Rows[i]
		switch {
		case row.IsConnection():
			c := s.connection(h, row, listening)
			if f := see(s.sighting(row, c)); f != nil {
				s.complete(c, f)
			}
			snapshot.Connections = append(snapshot.Connections, c)
		case row.IsTCPListener(), row.IsUDPListener():
			snapshot.Listeners = append(snapshot.Listeners, s.listener(h, row))
			if row.Protocol == socket.TCP {
				h.TCPListeners++
			} else {
				h.UDPListeners++
			}
		case row.Protocol == socket.TCP && row.State == socket.TimeWait:
			h.TimeWait++
		}
	}
}

func (s *snapshots) connection(h *event.Heartbeat, row *socket.Row, listening map[listenKey]bool) *event.Connection {
	c := &event.Connection{Envelope: h.Envelope, Heartbeat: h.Heartbeat, Netns: row.Netns, Family: row.Family(),
		LocalAddress: row.Local.Addr(), LocalPort: row.Local.Port(), RemoteAddress: row.Remote.Addr(), RemotePort: row.Remote.Port(),
		State: row.State.String(), Inode: row.Inode, Process: s.process(row), ConnectionID: connectionID(row.Cookie)}
	if row.Cookie != 0 {
		c.TCP = tcpOf(row.Info.RTT, row.Info.Retransmits)
	}
	switch {
	case listening[listenKey{row.Netns, row.Local.Port()}]:
		c.Direction, c.DirectionSource = event.DirectionInbound, event.SourceListeningPort
	case sameHost(row) && listening[listenKey{row.Netns, row.Remote.Port()}]:
		c.Direction, c.DirectionSource = event.DirectionOutbound, event.SourceListeningPort
	default:
		c.Direction = event.DirectionUnknown
	}
	if age, known := s.sights.age(row); known {
		c.Duration, c.DurationSource = event.Some(age.Round(time.Millisecond)), event.SourceFirstSeen
	}
	return c
}

// sighting is a row for the flow tracker. It is used again by the next.
func (s *snapshots) sighting(row *socket.Row, c *event.Connection) *flow.Sighting {
	s.seen = flow.Sighting{
		Socket: flow.Socket{ID: row.Cookie, Netns: row.Netns, Local: row.Local, Remote: row.Remote, Process: s.shared.process(&c.Process)},
		State:  uint8(row.State), Held: row.Inode != 0,
		Acked: row.Info.BytesAcked, Received: row.Info.BytesReceived, Sent: row.Info.BytesSent, Retransmitted: row.Info.BytesRetransmitted, Unacked: row.Info.Unacked,
		TCP: c.TCP,
	}
	switch c.Direction {
	case event.DirectionInbound:
		s.seen.Role = flow.Listened
	case event.DirectionOutbound:
		s.seen.Role = flow.Reached
	}
	return &s.seen
}

// complete a row with what is known of its flow.
func (s *snapshots) complete(c *event.Connection, f *flow.Flow) {
	c.Direction, c.DirectionSource = f.Role.Direction()
	c.RemoteName = f.RemoteName
	if f.Start != 0 {
		c.Duration, c.DurationSource = event.Some(max(0, s.sights.now-f.Start).Round(time.Millisecond)), c.DirectionSource
	}
	if !c.Process.PID.Known && f.Process != nil {
		c.Process = *f.Process
	}
}

// shared gives equal processes one place in memory, for those that keep them.
type shared map[event.Process]*event.Process

// sharedKept bounds it: processes come and go.
const sharedKept = 1 << 14

func (s *shared) process(p *event.Process) *event.Process {
	if !p.PID.Known {
		return nil
	}
	if *s == nil || len(*s) > sharedKept {
		*s = shared{}
	}
	known := (*s)[*p]
	if known == nil {
		copied := *p
		known = &copied
		(*s)[copied] = known
	}
	return known
}

// sameHost reports whether both ends are surely in the same namespace, so that
// its listeners tell who accepted.
func sameHost(row *socket.Row) bool {
	return row.Remote.Addr().IsLoopback() || row.Local.Addr() == row.Remote.Addr()
}

func (s *snapshots) listener(h *event.Heartbeat, row *socket.Row) *event.Listener {
	return &event.Listener{Envelope: h.Envelope, Heartbeat: h.Heartbeat, Netns: row.Netns, Transport: row.Protocol.String(), Family: row.Family(),
		LocalAddress: row.Local.Addr(), LocalPort: row.Local.Port(), Ephemeral: row.Ephemeral, Inode: row.Inode, Process: s.process(row), ConnectionID: connectionID(row.Cookie)}
}

func (s *snapshots) process(row *socket.Row) event.Process {
	owner, known := s.processes.Owner(row.Inode)
	if row.Inode == 0 {
		return event.Process{} // the kernel's own, or its process has closed it
	}
	p := event.Process{User: s.processes.User(row.UID)}
	if known {
		p.PID, p.Binary, p.Name = event.Some(owner.PID), owner.Binary, owner.Name
		p.ContainerID, p.CommandLine = owner.ContainerID, owner.CommandLine
	}
	return p
}

// listenKey is a TCP port that is listened on, on whatever address.
type listenKey struct {
	netns uint64
	port  uint16
}

func listeningPorts(rows []socket.Row) map[listenKey]bool {
	ports := map[listenKey]bool{}
	for i := range rows {
		if rows[i].IsTCPListener() {
			ports[listenKey{rows[i].Netns, rows[i].Local.Port()}] = true
		}
	}
	return ports
}
