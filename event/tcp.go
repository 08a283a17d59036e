package event

import "time"

// connectionID is the field connection_id of a kind: within a session it is one
// socket's, in events and in snapshots alike.
func connectionID(at func(Event) any) Field {
	return Field{Column: "connection_id", Attribute: AttrConnectionID, Scope: ScopeRecord, Source: "the socket's cookie (SO_COOKIE), unique until the host restarts",
		Null: "the source of the record does not tell it", at: at}
}

// TCP is how well a connection goes, by the kernel's own measurement.
type TCP struct {
	// RTT is the smoothed round-trip time (tcp_sock.srtt_us), to the microsecond.
	// It is not known before the first measurement.
	RTT Optional[time.Duration]
	// Retransmits counts segments that were sent again (tcp_sock.total_retrans).
	Retransmits Optional[uint64]
}

// tcpFields are the columns of [TCP] inside a kind's struct.
func tcpFields(tcp func(Event) *TCP) []Field {
	return []Field{
		{Column: "rtt_secs", Attribute: AttrRTT, Scope: ScopeRecord, Unit: "s", Source: "tcp_sock.srtt_us",
			Null: "nothing was measured", at: func(e Event) any { return &tcp(e).RTT }},
		{Column: "retransmits", Attribute: AttrRetransmits, Scope: ScopeRecord, Source: "tcp_sock.total_retrans",
			Null: "not told", at: func(e Event) any { return &tcp(e).Retransmits }},
	}
}
