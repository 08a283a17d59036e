package event

import (
	"net/netip"
	"slices"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Transports in the words of network.transport.
const (
	TransportTCP = "tcp"
	TransportUDP = "udp"
)

// Listener is a row of a snapshot: a TCP socket in LISTEN state, or a UDP
// socket that is bound and not connected.
type Listener struct {
	Envelope
	Heartbeat uint64
	Netns     uint64
	// Transport is tcp or udp.
	Transport    string
	Family       string
	LocalAddress netip.Addr
	LocalPort    uint16
	// Ephemeral is true for a UDP port from the range that the kernel hands
	// out by itself: most often a client, not a service.
	Ephemeral bool
	// Inode of the socket; 0 for one that the kernel owns, such as VXLAN or GTP-U.
	Inode        uint64
	Process      Process
	ConnectionID Optional[uint64]
}

// Kind is [KindListener].
func (*Listener) Kind() Kind { return KindListener }

const (
	tcpTables    = "sock_diag, or /proc/net/tcp and tcp6"
	socketTables = tcpTables + "; /proc/net/udp and udp6"
)

var listenerFields = slices.Concat([]Field{
	numbered(of(func(l *Listener) any { return &l.Heartbeat })),
	{Column: "netns", Attribute: AttrNetns, Scope: ScopeRecord, Source: "inode of /proc/PID/ns/net",
		at: of(func(l *Listener) any { return &l.Netns })},
	{Column: "transport", Attribute: string(semconv.NetworkTransportKey), Scope: ScopeRecord, Source: socketTables,
		at: of(func(l *Listener) any { return &l.Transport })},
	{Column: "family", Attribute: string(semconv.NetworkTypeKey), Scope: ScopeRecord, Source: socketTables,
		at: of(func(l *Listener) any { return &l.Family })},
	{Column: "local_address", Attribute: string(semconv.NetworkLocalAddressKey), Scope: ScopeRecord, Source: socketTables,
		at: of(func(l *Listener) any { return &l.LocalAddress })},
	{Column: "local_port", Attribute: string(semconv.NetworkLocalPortKey), Scope: ScopeRecord, Source: socketTables,
		at: of(func(l *Listener) any { return &l.LocalPort })},
	{Column: "ephemeral", Attribute: AttrEphemeral, Scope: ScopeRecord, Source: "/proc/sys/net/ipv4/ip_local_port_range",
		at: of(func(l *Listener) any { return &l.Ephemeral })},
	{Column: "inode", Attribute: AttrInode, Scope: ScopeRecord, Source: socketTables,
		at: of(func(l *Listener) any { return &l.Inode })},
}, processFields(func(e Event) *Process { return &e.(*Listener).Process }),
	[]Field{connectionID(of(func(l *Listener) any { return &l.ConnectionID }))})
