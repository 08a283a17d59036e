package event

import "slices"

// LSMNetConnect is a connect as the hook socket_connect of the BPF LSM saw it:
// before the kernel did anything for it, and whatever became of it.
type LSMNetConnect struct {
	Envelope
	Target
	Process Process
	// ConnectionID of the connecting socket.
	ConnectionID Optional[uint64]
}

// Kind is [KindLSMNetConnect].
func (*LSMNetConnect) Kind() Kind { return KindLSMNetConnect }

var lsmNetConnectFields = slices.Concat(
	targetFields(func(e Event) *Target { return &e.(*LSMNetConnect).Target }),
	processFields(func(e Event) *Process { return &e.(*LSMNetConnect).Process }),
	[]Field{connectionID(of(func(l *LSMNetConnect) any { return &l.ConnectionID }))},
)
