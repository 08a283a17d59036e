package event

import "slices"

// NetworkListen is a socket that a process put into LISTEN state.
type NetworkListen struct {
	Envelope
	Target
	// Backlog is how many connections may wait for accept, as listen(2) was asked
	// and net.core.somaxconn allowed.
	Backlog Optional[uint64]
	Process Process
	// ConnectionID of the listening socket.
	ConnectionID Optional[uint64]
}

// Kind is [KindNetworkListen].
func (*NetworkListen) Kind() Kind { return KindNetworkListen }

var networkListenFields = slices.Concat(
	targetFields(func(e Event) *Target { return &e.(*NetworkListen).Target }),
	[]Field{{Column: "backlog", Attribute: AttrBacklog, Scope: ScopeRecord, Source: "sock.sk_max_ack_backlog", Null: "not told",
		at: of(func(l *NetworkListen) any { return &l.Backlog })}},
	processFields(func(e Event) *Process { return &e.(*NetworkListen).Process }),
	[]Field{connectionID(of(func(l *NetworkListen) any { return &l.ConnectionID }))},
)
