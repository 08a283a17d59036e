package sensor

import (
	"net/netip"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/socket"
)

// churn counts the listeners that come and go between two heartbeats.
type churn struct {
	known map[listener]bool // nil before the first heartbeat
	total event.Churn
}

// listener is what stays the same when its process is replaced.
type listener struct {
	netns     uint64
	transport string
	local     netip.AddrPort
}

// update compares the socket tables with those before and returns the totals. A
// namespace that could not be read this time is taken to be as it was.
func (c *churn) update(rows []socket.Row, namespaces []socket.Namespace) event.Churn {
	now := make(map[listener]bool, len(c.known))
	for i := range rows {
		if row := &rows[i]; (row.IsTCPListener() || row.IsUDPListener()) && !row.Ephemeral {
			now[listener{row.Netns, row.Protocol.String(), row.Local}] = true
		}
	}
	missing := map[uint64]bool{}
	for _, ns := range namespaces {
		missing[ns.Inode] = ns.Missing != ""
	}
	next := event.Churn{Appeared: map[string]uint64{}, Vanished: map[string]uint64{}}
	for _, transport := range []string{event.TransportTCP, event.TransportUDP} {
		next.Appeared[transport], next.Vanished[transport] = c.total.Appeared[transport], c.total.Vanished[transport]
	}
	for l := range c.known {
		if !now[l] && missing[l.netns] {
			now[l] = true
		} else if !now[l] {
			next.Vanished[l.transport]++
		}
	}
	for l := range now {
		if c.known != nil && !c.known[l] {
			next.Appeared[l.transport]++
		}
	}
	c.known, c.total = now, next
	return next
}
