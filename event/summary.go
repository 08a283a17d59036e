package event

// Summary is what is kept of a snapshot when its rows are sent: the heartbeat and
// counts.
type Summary struct {
	Heartbeat   *Heartbeat
	Connections map[ConnectionCount]int
	Flows       map[FlowCount]int
	Listeners   map[ListenerCount]int
	// UDPPorts counts UDP listeners by port.
	UDPPorts map[uint16]int
}

// ConnectionCount is what connections are counted by.
type ConnectionCount struct{ State, Family, Direction string }

// FlowCount is what flows are counted by.
type FlowCount struct{ State, Direction string }

// ListenerCount is what listeners are counted by.
type ListenerCount struct {
	Transport, Family string
	Ephemeral         bool
}

// Summarize counts the rows of a snapshot.
func (s *Snapshot) Summarize() *Summary {
	sum := &Summary{Heartbeat: s.Heartbeat, Connections: map[ConnectionCount]int{}, Flows: map[FlowCount]int{}, Listeners: map[ListenerCount]int{}, UDPPorts: map[uint16]int{}}
	for _, c := range s.Connections {
		sum.Connections[ConnectionCount{c.State, c.Family, c.Direction}]++
	}
	for _, f := range s.Flows {
		sum.Flows[FlowCount{f.State, f.Direction}]++
	}
	for _, l := range s.Listeners {
		sum.Listeners[ListenerCount{l.Transport, l.Family, l.Ephemeral}]++
		if l.Transport == TransportUDP {
			sum.UDPPorts[l.LocalPort]++
		}
	}
	return sum
}
