package socket

// State is a TCP state as the kernel numbers it (include/net/tcp_states.h). A
// UDP socket is in [Established] when it is connected, else in [Close].
type State uint8

// The kernel's states.
const (
	Established State = iota + 1
	SynSent
	SynReceived
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
	// NewSynReceived is SYN_RECV of a connection that has no socket of its own
	// yet; /proc shows it as SYN_RECV.
	NewSynReceived
)

// highestState leaves room for states that later kernels may add.
const highestState = 31

var states = [...]string{
	Established: "established", SynSent: "syn_sent", SynReceived: "syn_received",
	FinWait1: "fin_wait_1", FinWait2: "fin_wait_2", TimeWait: "time_wait",
	Close: "closed", CloseWait: "close_wait", LastAck: "last_ack",
	Listen: "listen", Closing: "closing", NewSynReceived: "syn_received",
}

// String is the value of OpenTelemetry's network.connection.state, and
// "unknown" for a state that this version has no word for.
func (s State) String() string {
	if int(s) < len(states) && states[s] != "" {
		return states[s]
	}
	return "unknown"
}
