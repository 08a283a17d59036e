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

// Target is where a socket listens, or where one is asked to connect to: the
// destination alone, since no source has come into it yet.
type Target struct {
	Netns     uint64
	Transport string
	Family    string
	// DestinationAddress is unspecified (0.0.0.0 or ::) where a socket listens on
	// all addresses.
	DestinationAddress netip.Addr
	DestinationPort    uint16
}

// targetFields are the columns of [Target] inside a kind's struct: those of
// [Ends] without the source.
func targetFields(target func(Event) *Target) []Field {
	at := map[string]func(*Target) any{
		"netns":               func(t *Target) any { return &t.Netns },
		"transport":           func(t *Target) any { return &t.Transport },
		"family":              func(t *Target) any { return &t.Family },
		"destination_address": func(t *Target) any { return &t.DestinationAddress },
		"destination_port":    func(t *Target) any { return &t.DestinationPort },
	}
	var fields []Field
	for _, f := range endsFields(nil) {
		if member := at[f.Column]; member != nil {
			f.at = func(e Event) any { return member(target(e)) }
			fields = append(fields, f)
		}
	}
	return fields
}
