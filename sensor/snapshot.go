package sensor

import (
	"cmp"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/deliver"
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

	listening map[listenKey]bool
	flows     []flow.Flow // those that live
	piece     piece

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
	heartbeat *event.Heartbeat // nil where nothing could be read
	// rows makes the records' rows, once, in pieces that are used again for the
	// next. It counts them in summary, and completes the heartbeat.
	rows        iter.Seq[[]event.Event]
	records     int
	summary     *event.Summary
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
	s.listening = listeningPorts(s.table.Rows)
	s.number++
	h := &event.Heartbeat{Envelope: s.envelope(time.Now()), Heartbeat: s.number,
		Namespaces: uint64(s.table.Namespaces), Mode: event.ModeCompatibility, Interval: s.config.Interval, Uptime: (begin - s.began).Round(time.Millisecond)}
	s.count(h)
	if s.happenings != nil {
		s.sync() // so that a flow that ended meanwhile is not looked for
		s.flows = s.happenings.compare(begin, s.table.Seen, s.sightings, s.flows)
		h.Flows = event.Some(uint64(len(s.flows)))
	}
	h.Losses = s.losses()
	h.Features = featureStates(features(f.collections, s.table.NoDiag))
	f.churn = s.churn.update(s.table.Rows, s.table.Seen)
	f.limits = s.limits.update(s.config.Proc, &s.table)
	f.heartbeat, f.summary = h, event.NewSummary(h)
	f.records = int(h.Connections+h.TCPListeners+h.UDPListeners) + len(s.flows)
	f.rows = func(yield func([]event.Event) bool) {
		s.rows(h, begin, func(rows []event.Event) bool {
			f.summary.Count(rows)
			return yield(rows)
		})
		h.CollectDuration = (s.clock() - begin).Round(time.Millisecond)
	}
	return f, nil
}

// count what the socket tables have.
func (s *snapshots) count(h *event.Heartbeat) {
	for i := range s.table.Rows {
		switch row := &s.table.Rows[i]; {
		case row.IsConnection():
			h.Connections++
		case row.IsTCPListener():
			h.TCPListeners++
		case row.IsUDPListener():
			h.UDPListeners++
		case row.Protocol == socket.TCP && row.State == socket.TimeWait:
			h.TimeWait++
		}
	}
}

// whole has all rows in memory.
func (f *found) whole() *event.Snapshot {
	s := &event.Snapshot{Heartbeat: f.heartbeat}
	for rows := range f.rows {
		for _, row := range rows {
			switch row := row.(type) {
			case *event.Connection:
				s.Connections = append(s.Connections, copyOf(row))
			case *event.Listener:
				s.Listeners = append(s.Listeners, copyOf(row))
			case *event.Flow:
				s.Flows = append(s.Flows, copyOf(row))
			}
		}
	}
	return s
}

func copyOf[T any](row *T) *T {
	copied := *row
	return &copied
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
			cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Inode, b.Inode), cmp.Compare(a.Cookie, b.Cookie))
	})
}

// rowsPerPiece is how many rows are in memory at a time: those of a request.
const rowsPerPiece = deliver.RecordsPerRequest

// piece is the memory of some rows.
type piece struct {
	connections arena[event.Connection]
	listeners   arena[event.Listener]
	flows       arena[event.Flow]
	rows        []event.Event
}

// rows makes the rows of connections, listeners and flows at a time, until yield
// returns false.
func (s *snapshots) rows(h *event.Heartbeat, now time.Duration, yield func([]event.Event) bool) {
	s.sights.begin(now, s.table.Seen)
	defer s.sights.end()
	p := &s.piece
	give := func() bool {
		more := yield(p.rows)
		p.rows = p.rows[:0]
		p.connections.empty()
		p.listeners.empty()
		p.flows.empty()
		return more
	}
	flows := s.flows
	for i := range s.table.Rows {
		row := &s.table.Rows[i]
		switch {
		case row.IsConnection():
			c := p.connections.next(s.connection(h, row))
			// The flows have the order of the rows, some of which have none.
			for len(flows) > 1 && flows[1].ID == row.Cookie {
				flows = flows[1:]
			}
			if len(flows) > 0 && flows[0].ID == row.Cookie {
				s.complete(c, &flows[0])
			}
			p.rows = append(p.rows, c)
		case row.IsTCPListener(), row.IsUDPListener():
			p.rows = append(p.rows, p.listeners.next(s.listener(h, row)))
		}
		if len(p.rows) >= rowsPerPiece && !give() {
			return
		}
	}
	for i := range s.flows {
		p.rows = append(p.rows, p.flows.next(s.flow(h, &s.flows[i], now)))
		if len(p.rows) >= rowsPerPiece && !give() {
			return
		}
	}
	if len(p.rows) > 0 {
		give()
	}
}

func (s *snapshots) connection(h *event.Heartbeat, row *socket.Row) event.Connection {
	c := event.Connection{Envelope: h.Envelope, Heartbeat: h.Heartbeat, Netns: row.Netns, Family: row.Family(),
		LocalAddress: row.Local.Addr(), LocalPort: row.Local.Port(), RemoteAddress: row.Remote.Addr(), RemotePort: row.Remote.Port(),
		State: row.State.String(), Inode: row.Inode, Process: s.process(row), ConnectionID: connectionID(row.Cookie)}
	if row.Cookie != 0 {
		c.TCP = tcpOf(row.Info.RTT, row.Info.Retransmits)
	}
	c.Direction, c.DirectionSource = s.role(row).Direction()
	if age, known := s.sights.age(row); known {
		c.Duration, c.DurationSource = event.Some(age.Round(time.Millisecond)), event.SourceFirstSeen
	}
	return c
}

// role of a connection's process, as far as the listeners tell it.
func (s *snapshots) role(row *socket.Row) flow.Role {
	switch {
	case s.listening[listenKey{row.Netns, row.Local.Port()}]:
		return flow.Listened
	case sameHost(row) && s.listening[listenKey{row.Netns, row.Remote.Port()}]:
		return flow.Reached
	}
	return flow.Unknown
}

// sightings gives the flow tracker each connection of the tables.
func (s *snapshots) sightings(see func(*flow.Sighting)) {
	for i := range s.table.Rows {
		row := &s.table.Rows[i]
		if !row.IsConnection() || row.Cookie == 0 {
			continue
		}
		process := s.process(row)
		s.seen = flow.Sighting{
			Socket: flow.Socket{ID: row.Cookie, Netns: row.Netns, Local: row.Local, Remote: row.Remote, Role: s.role(row), Process: s.shared.process(&process)},
			State:  uint8(row.State), Held: row.Inode != 0,
			Acked: row.Info.BytesAcked, Received: row.Info.BytesReceived, Sent: row.Info.BytesSent, Retransmitted: row.Info.BytesRetransmitted, Unacked: row.Info.Unacked,
			TCP: tcpOf(row.Info.RTT, row.Info.Retransmits),
		}
		see(&s.seen)
	}
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

func (s *snapshots) listener(h *event.Heartbeat, row *socket.Row) event.Listener {
	return event.Listener{Envelope: h.Envelope, Heartbeat: h.Heartbeat, Netns: row.Netns, Transport: row.Protocol.String(), Family: row.Family(),
		LocalAddress: row.Local.Addr(), LocalPort: row.Local.Port(), Ephemeral: row.Ephemeral, Inode: row.Inode, Process: s.process(row), ConnectionID: connectionID(row.Cookie)}
}

func (s *snapshots) flow(h *event.Heartbeat, f *flow.Flow, now time.Duration) event.Flow {
	row := event.Flow{Envelope: h.Envelope, Heartbeat: h.Heartbeat, Ends: endsOf(&f.Socket, event.TransportTCP), State: event.FlowEstablished,
		TCP: f.TCP, RemoteName: f.RemoteName, ConnectionID: connectionID(f.ID)}
	row.Direction, row.DirectionSource = f.Role.Direction()
	if f.HalfClosed(now) {
		row.State = event.FlowHalfClosed
	}
	if f.Counted {
		row.BytesSent, row.BytesReceived = event.Some(f.Sent), event.Some(f.Received)
	}
	if f.Process != nil {
		row.Process = *f.Process
	}
	if f.Start != 0 {
		row.Duration, row.DurationSource = event.Some(max(0, now-f.Start).Round(time.Millisecond)), row.DirectionSource
	}
	return row
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
