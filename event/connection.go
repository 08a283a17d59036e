package event

import (
	"net/netip"
	"slices"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Directions of a connection, seen from the sensor's host.
const (
	DirectionInbound  = "inbound"
	DirectionOutbound = "outbound"
	DirectionUnknown  = "unknown"
)

// SourceListeningPort says that a direction was concluded from a listener on
// one of the two ports in the same network namespace.
const SourceListeningPort = "listening_port"

// SourceConnect and SourceAccept say that a direction, or the beginning of a
// duration, is that of the call which made the connection.
const (
	SourceConnect = "connect"
	SourceAccept  = "accept"
)

// SourceFirstSeen says that a duration counts from the first heartbeat that
// showed the socket, not from its real start.
const SourceFirstSeen = "first_seen"

// Connection is a row of a snapshot: one TCP socket in any state but LISTEN,
// TIME_WAIT and CLOSE.
type Connection struct {
	Envelope
	// Heartbeat numbers the snapshots of a session from 1.
	Heartbeat uint64
	// Netns is the inode of the network namespace.
	Netns uint64
	// Family is the network.type of the addresses: ipv4 or ipv6. An
	// IPv4-mapped address is IPv4.
	Family        string
	LocalAddress  netip.Addr
	LocalPort     uint16
	RemoteAddress netip.Addr
	RemotePort    uint16
	// State in the words of network.connection.state, such as established.
	State string
	// Direction is one of the Direction constants; DirectionSource says how it
	// is known and is empty where it is not.
	Direction       string
	DirectionSource string
	// Inode of the socket, 0 where no file refers to it any more.
	Inode   uint64
	Process Process
	// Duration on the boot clock, from the point that DurationSource names.
	Duration       Optional[time.Duration]
	DurationSource string
	// RemoteName is a host name by which the peer is known.
	RemoteName string
	TCP
	ConnectionID Optional[uint64]
}

// Kind is [KindConnection].
func (*Connection) Kind() Kind { return KindConnection }

var heartbeatNumber = Field{Column: "heartbeat", Attribute: AttrHeartbeat, Scope: ScopeRecord, Source: "counted from 1 in each session"}

func numbered(at func(Event) any) Field {
	f := heartbeatNumber
	f.at = at
	return f
}

const unknownDuration = "the socket is older than the sensor, or was first seen after a gap"

var connectionFields = slices.Concat([]Field{
	numbered(of(func(c *Connection) any { return &c.Heartbeat })),
	{Column: "netns", Attribute: AttrNetns, Scope: ScopeRecord, Source: "inode of /proc/PID/ns/net",
		at: of(func(c *Connection) any { return &c.Netns })},
	{Column: "family", Attribute: string(semconv.NetworkTypeKey), Scope: ScopeRecord, Source: tcpTables,
		at: of(func(c *Connection) any { return &c.Family })},
	{Column: "local_address", Attribute: string(semconv.NetworkLocalAddressKey), Scope: ScopeRecord, Source: tcpTables,
		at: of(func(c *Connection) any { return &c.LocalAddress })},
	{Column: "local_port", Attribute: string(semconv.NetworkLocalPortKey), Scope: ScopeRecord, Source: tcpTables,
		at: of(func(c *Connection) any { return &c.LocalPort })},
	{Column: "remote_address", Attribute: string(semconv.NetworkPeerAddressKey), Scope: ScopeRecord, Source: tcpTables,
		at: of(func(c *Connection) any { return &c.RemoteAddress })},
	{Column: "remote_port", Attribute: string(semconv.NetworkPeerPortKey), Scope: ScopeRecord, Source: tcpTables,
		at: of(func(c *Connection) any { return &c.RemotePort })},
	{Column: "state", Attribute: string(semconv.NetworkConnectionStateKey), Scope: ScopeRecord, Source: tcpTables,
		at: of(func(c *Connection) any { return &c.State })},
	{Column: "direction", Attribute: AttrDirection, Scope: ScopeRecord, Source: "see direction_source",
		at: of(func(c *Connection) any { return &c.Direction })},
	{Column: "direction_source", Attribute: AttrDirectionSource, Scope: ScopeRecord, Source: "connect, accept, or listeners of the same snapshot",
		Null: "direction is unknown", at: of(func(c *Connection) any { return &c.DirectionSource })},
	{Column: "inode", Attribute: AttrInode, Scope: ScopeRecord, Source: tcpTables,
		at: of(func(c *Connection) any { return &c.Inode })},
}, processFields(func(e Event) *Process { return &e.(*Connection).Process }), []Field{
	{Column: "duration_secs", Attribute: AttrDuration, Scope: ScopeRecord, Unit: "s", Source: "boot clock",
		Null: unknownDuration, at: of(func(c *Connection) any { return &c.Duration })},
	{Column: "duration_source", Attribute: AttrDurationSource, Scope: ScopeRecord, Source: "how duration_secs is known",
		Null: unknownDuration, at: of(func(c *Connection) any { return &c.DurationSource })},
	{Column: "remote_name", Attribute: AttrPeerName, Scope: ScopeRecord, Source: "names that the host's processes looked up",
		Null: "no name is known", at: of(func(c *Connection) any { return &c.RemoteName })},
	connectionID(of(func(c *Connection) any { return &c.ConnectionID })),
}, tcpFields(func(e Event) *TCP { return &e.(*Connection).TCP }))
