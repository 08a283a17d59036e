package event

import "slices"

// NetworkAccept is an inbound TCP connection that a process took from its
// listener: the source is the peer.
type NetworkAccept struct {
	Envelope
	Ends
	Process Process
}

// Kind is [KindNetworkAccept].
func (*NetworkAccept) Kind() Kind { return KindNetworkAccept }

var networkAcceptFields = slices.Concat(
	endsFields(func(e Event) *Ends { return &e.(*NetworkAccept).Ends }),
	processFields(func(e Event) *Process { return &e.(*NetworkAccept).Process }),
)
