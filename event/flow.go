package event

import (
	"slices"
	"time"
)

// States of a flow that lives.
const (
	// FlowEstablished: both sides may send, or one has closed just now.
	FlowEstablished = "established"
	// FlowHalfClosed: one side closed 60 s ago or more, and the other has not.
	FlowHalfClosed = "half-closed"
)

// Flow is a row of a snapshot: a TCP flow that lives, from connect or accept on.
type Flow struct {
	Envelope
	Heartbeat uint64
	Ends
	// Direction is one of the Direction constants; DirectionSource says how it
	// is known and is empty where it is not.
	Direction       string
	DirectionSource string
	// State is [FlowEstablished] or [FlowHalfClosed].
	State string
	// BytesSent are those that this host sent and the peer acknowledged so far.
	// Both are not known of a flow that no socket table has shown yet.
	BytesSent, BytesReceived Optional[uint64]
	TCP
	Process Process
	// Duration on the boot clock, from the point that DurationSource names.
	Duration       Optional[time.Duration]
	DurationSource string
	// RemoteName is a host name by which the peer is known.
	RemoteName   string
	ConnectionID Optional[uint64]
}

// Kind is [KindFlow].
func (*Flow) Kind() Kind { return KindFlow }

const notCounted = "no socket table has shown the flow yet"

var flowFields = slices.Concat(
	[]Field{numbered(of(func(f *Flow) any { return &f.Heartbeat }))},
	endsFields(func(e Event) *Ends { return &e.(*Flow).Ends }),
	[]Field{
		{Column: "direction", Attribute: AttrDirection, Scope: ScopeRecord, Source: "see direction_source",
			at: of(func(f *Flow) any { return &f.Direction })},
		{Column: "direction_source", Attribute: AttrDirectionSource, Scope: ScopeRecord, Source: "how direction is known",
			Null: "direction is unknown", at: of(func(f *Flow) any { return &f.DirectionSource })},
		{Column: "state", Attribute: AttrFlowState, Scope: ScopeRecord, Source: "the flow tracker",
			at: of(func(f *Flow) any { return &f.State })},
		{Column: "bytes_sent", Attribute: AttrBytesSent, Scope: ScopeRecord, Unit: "B", Source: "tcp_info.tcpi_bytes_acked",
			Null: notCounted, at: of(func(f *Flow) any { return &f.BytesSent })},
		{Column: "bytes_received", Attribute: AttrBytesReceived, Scope: ScopeRecord, Unit: "B", Source: "tcp_info.tcpi_bytes_received",
			Null: notCounted, at: of(func(f *Flow) any { return &f.BytesReceived })},
	},
	tcpFields(func(e Event) *TCP { return &e.(*Flow).TCP }),
	processFields(func(e Event) *Process { return &e.(*Flow).Process }),
	[]Field{
		{Column: "duration_secs", Attribute: AttrDuration, Scope: ScopeRecord, Unit: "s", Source: "boot clock",
			Null: "the flow is older than the sensor", at: of(func(f *Flow) any { return &f.Duration })},
		{Column: "duration_source", Attribute: AttrDurationSource, Scope: ScopeRecord, Source: "how duration_secs is known",
			Null: "the flow is older than the sensor", at: of(func(f *Flow) any { return &f.DurationSource })},
		{Column: "remote_name", Attribute: AttrPeerName, Scope: ScopeRecord, Source: "names that the host's processes looked up",
			Null: "no name is known", at: of(func(f *Flow) any { return &f.RemoteName })},
		connectionID(of(func(f *Flow) any { return &f.ConnectionID })),
	},
)
