package event

import "time"

// Snapshot is what one heartbeat found, whole. A sensor makes its rows in pieces
// instead, since they can be many.
type Snapshot struct {
	Heartbeat   *Heartbeat
	Connections []*Connection
	Listeners   []*Listener
	Flows       []*Flow
}

// Records is the number of records of the snapshot, its heartbeat included.
func (s *Snapshot) Records() int { return len(s.Connections) + len(s.Listeners) + len(s.Flows) + 1 }

// Rows are the records of the snapshot without its heartbeat, in the order in
// which they are sent.
func (s *Snapshot) Rows() []Event {
	rows := make([]Event, 0, s.Records())
	for _, c := range s.Connections {
		rows = append(rows, c)
	}
	for _, l := range s.Listeners {
		rows = append(rows, l)
	}
	for _, f := range s.Flows {
		rows = append(rows, f)
	}
	return rows
}

// Collection is one thing that a heartbeat tried to read.
type Collection struct {
	// Name of what was read, such as socket_tables.
	Name string
	Took time.Duration
	// Err says why it could not be read; nil where it could.
	Err error
}

// Churn counts, by transport and since the sensor's start, the listeners that
// were there at one heartbeat and not at its neighbour. Those of ephemeral UDP
// ports are left out: each client that asks a name makes one.
type Churn struct {
	Appeared, Vanished map[string]uint64
}
