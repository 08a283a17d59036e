package event

import (
	"net/netip"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Ends are the two ends of a connection or flow: the source is the side that
// opened it; where that is not known, the sensor's own host.
type Ends struct {
	// Netns is the inode of the network namespace.
	Netns uint64
	// Transport is tcp or udp.
	Transport string
	// Family is the network.type of the addresses: ipv4 or ipv6. An
	// IPv4-mapped address is IPv4.
	Family             string
	SourceAddress      netip.Addr
	SourcePort         uint16
	DestinationAddress netip.Addr
	DestinationPort    uint16
}

// endsFields are the columns of [Ends] inside a kind's struct.
func endsFields(ends func(Event) *Ends) []Field {
	member := func(get func(*Ends) any) func(Event) any {
		return func(e Event) any { return get(ends(e)) }
	}
	const source = "the socket"
	return []Field{
		{Column: "netns", Attribute: AttrNetns, Scope: ScopeRecord, Source: "the socket's namespace",
			at: member(func(e *Ends) any { return &e.Netns })},
		{Column: "transport", Attribute: string(semconv.NetworkTransportKey), Scope: ScopeRecord, Source: source,
			at: member(func(e *Ends) any { return &e.Transport })},
		{Column: "family", Attribute: string(semconv.NetworkTypeKey), Scope: ScopeRecord, Source: source,
			at: member(func(e *Ends) any { return &e.Family })},
		{Column: "source_address", Attribute: string(semconv.SourceAddressKey), Scope: ScopeRecord, Source: source,
			at: member(func(e *Ends) any { return &e.SourceAddress })},
		{Column: "source_port", Attribute: string(semconv.SourcePortKey), Scope: ScopeRecord, Source: source,
			at: member(func(e *Ends) any { return &e.SourcePort })},
		{Column: "destination_address", Attribute: string(semconv.DestinationAddressKey), Scope: ScopeRecord, Source: source,
			at: member(func(e *Ends) any { return &e.DestinationAddress })},
		{Column: "destination_port", Attribute: string(semconv.DestinationPortKey), Scope: ScopeRecord, Source: source,
			at: member(func(e *Ends) any { return &e.DestinationPort })},
	}
}
