package event

import (
	"slices"
	"time"
)

// Final states of a flow.
const (
	// FinalEstablished: it was established, and ended by a close or a reset.
	FinalEstablished = "established"
	// FinalRefused: it never was established, for whatever reason.
	FinalRefused = "refused"
	// FinalHalfClosed: one side had closed and the other had not.
	FinalHalfClosed = "half-closed"
	// FinalStale: no close was seen.
	FinalStale = "stale"
)

// NetworkFlow is a completed TCP flow.
type NetworkFlow struct {
	Envelope
	Ends
	// Direction is one of the Direction constants; DirectionSource says how it
	// is known and is empty where it is not.
	Direction       string
	DirectionSource string
	// BytesSent are those that this host sent and the peer acknowledged. Both are
	// not known where the end was missed before a heartbeat had shown the flow.
	BytesSent, BytesReceived Optional[uint64]
	TCP
	// FinalState is one of the Final constants, FinalDetail its cause: fin,
	// reset_by_peer, reset_locally, refused, timed_out, unreachable, aborted,
	// missed_close or evicted.
	FinalState, FinalDetail string
	Process                 Process
	// Duration on the boot clock, from the point that DurationSource names.
	Duration       Optional[time.Duration]
	DurationSource string
	// RemoteName is a host name by which the peer is known.
	RemoteName   string
	ConnectionID Optional[uint64]
}

// Kind is [KindNetworkFlow].
func (*NetworkFlow) Kind() Kind { return KindNetworkFlow }

var networkFlowFields = slices.Concat(
	endsFields(func(e Event) *Ends { return &e.(*NetworkFlow).Ends }),
	[]Field{
		{Column: "direction", Attribute: AttrDirection, Scope: ScopeRecord, Source: "see direction_source",
			at: of(func(f *NetworkFlow) any { return &f.Direction })},
		{Column: "direction_source", Attribute: AttrDirectionSource, Scope: ScopeRecord, Source: "how direction is known",
			Null: "direction is unknown", at: of(func(f *NetworkFlow) any { return &f.DirectionSource })},
		{Column: "bytes_sent", Attribute: AttrBytesSent, Scope: ScopeRecord, Unit: "B", Source: "tcp_sock.bytes_acked", Null: notCounted,
			at: of(func(f *NetworkFlow) any { return &f.BytesSent })},
		{Column: "bytes_received", Attribute: AttrBytesReceived, Scope: ScopeRecord, Unit: "B", Source: "tcp_sock.bytes_received", Null: notCounted,
			at: of(func(f *NetworkFlow) any { return &f.BytesReceived })},
		{Column: "final_state", Attribute: AttrFinalState, Scope: ScopeRecord, Source: "the flow tracker",
			at: of(func(f *NetworkFlow) any { return &f.FinalState })},
		{Column: "final_detail", Attribute: AttrFinalDetail, Scope: ScopeRecord, Source: "the flow tracker",
			at: of(func(f *NetworkFlow) any { return &f.FinalDetail })},
	},
	tcpFields(func(e Event) *TCP { return &e.(*NetworkFlow).TCP }),
	processFields(func(e Event) *Process { return &e.(*NetworkFlow).Process }),
	[]Field{
		{Column: "duration_secs", Attribute: AttrDuration, Scope: ScopeRecord, Unit: "s", Source: "boot clock",
			Null: "the flow is older than the sensor", at: of(func(f *NetworkFlow) any { return &f.Duration })},
		{Column: "duration_source", Attribute: AttrDurationSource, Scope: ScopeRecord, Source: "how duration_secs is known",
			Null: "the flow is older than the sensor", at: of(func(f *NetworkFlow) any { return &f.DurationSource })},
		{Column: "remote_name", Attribute: AttrPeerName, Scope: ScopeRecord, Source: "names that the host's processes looked up",
			Null: "no name is known", at: of(func(f *NetworkFlow) any { return &f.RemoteName })},
		connectionID(of(func(f *NetworkFlow) any { return &f.ConnectionID })),
	},
)
