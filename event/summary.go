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

// NewSummary returns that of a heartbeat whose rows are still to be counted.
func NewSummary(h *Heartbeat) *Summary {
	return &Summary{Heartbeat: h, Connections: map[ConnectionCount]int{}, Flows: map[FlowCount]int{}, Listeners: map[ListenerCount]int{}, UDPPorts: map[uint16]int{}}
}

// Count rows of the heartbeat's snapshot.
func (s *Summary) Count(rows []Event) {
	for _, row := range rows {
		switch row := row.(type) {
		case *Connection:
			s.Connections[ConnectionCount{row.State, row.Family, row.Direction}]++
		case *Flow:
			s.Flows[FlowCount{row.State, row.Direction}]++
		case *Listener:
			s.Listeners[ListenerCount{row.Transport, row.Family, row.Ephemeral}]++
			if row.Transport == TransportUDP {
				s.UDPPorts[row.LocalPort]++
			}
		}
	}
}

// Summarize counts the rows of a snapshot.
func (s *Snapshot) Summarize() *Summary {
	sum := NewSummary(s.Heartbeat)
	sum.Count(s.Rows())
	return sum
}
