package event

import "slices"

// ResultOK says that an attempt succeeded. Other results are the lower-case
// names of errors: refused, timed_out, unreachable, ….
const ResultOK = "ok"

// NetworkConnect is one outbound attempt to connect, with its result.
type NetworkConnect struct {
	Envelope
	Ends
	// Result is [ResultOK] or the name of the error.
	Result  string
	Process Process
	// RemoteName is a host name by which the destination is known.
	RemoteName   string
	ConnectionID Optional[uint64]
}

// Kind is [KindNetworkConnect].
func (*NetworkConnect) Kind() Kind { return KindNetworkConnect }

var networkConnectFields = slices.Concat(
	endsFields(func(e Event) *Ends { return &e.(*NetworkConnect).Ends }),
	[]Field{{Column: "result", Attribute: AttrResult, Scope: ScopeRecord, Source: "the call's result",
		at: of(func(c *NetworkConnect) any { return &c.Result })}},
	processFields(func(e Event) *Process { return &e.(*NetworkConnect).Process }),
	[]Field{{Column: "remote_name", Attribute: AttrPeerName, Scope: ScopeRecord, Source: "names that the host's processes looked up",
		Null: "no name is known", at: of(func(c *NetworkConnect) any { return &c.RemoteName })},
		connectionID(of(func(c *NetworkConnect) any { return &c.ConnectionID }))},
)
