package event

// Snapshot is what one heartbeat found. It is immutable once it is made.
type Snapshot struct {
	Heartbeat   *Heartbeat
	Connections []*Connection
	Listeners   []*Listener
}

// Records is the number of records of the snapshot, its heartbeat included.
func (s *Snapshot) Records() int { return len(s.Connections) + len(s.Listeners) + 1 }
