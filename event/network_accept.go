package event

import "slices"

// NetworkAccept is an inbound TCP connection that a process took from its
// listener: the source is the peer.
type NetworkAccept struct {
	Envelope
	Ends
	Process      Process
	ConnectionID Optional[uint64]
}

// Kind is [KindNetworkAccept].
func (*NetworkAccept) Kind() Kind { return KindNetworkAccept }

var networkAcceptFields = slices.Concat(
	endsFields(func(e Event) *Ends { return &e.(*NetworkAccept).Ends }),
	processFields(func(e Event) *Process { return &e.(*NetworkAccept).Process }),
	[]Field{connectionID(of(func(a *NetworkAccept) any { return &a.ConnectionID }))},
)
