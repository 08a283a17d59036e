package exporter

import "github.com/netview-project/netview/event"

var (
	connections = gauge("connections", "TCP connections by state, address family and direction, in every network namespace; LISTEN, TIME_WAIT and CLOSE are not connections.", "state", "family", "direction")
	timeWait    = gauge("tcp_time_wait_sockets", "TCP sockets in TIME_WAIT.")
)

var connectionMetrics = family{
	title:   "Connections",
	metrics: []*metric{connections, timeWait},
	collect: func(s *event.State, emit emit) {
		if s.Snapshot == nil {
			return
		}
		for _, c := range drawnConnections {
			if s.Snapshot.Connections[c] == 0 {
				emit(connections, 0, c.State, c.Family, c.Direction)
			}
		}
		for c, n := range s.Snapshot.Connections {
			emit(connections, float64(n), c.State, c.Family, c.Direction)
		}
		emit(timeWait, float64(s.Snapshot.Heartbeat.TimeWait))
	},
}

var addressFamilies = []string{"ipv4", "ipv6"}

var directions = []string{event.DirectionInbound, event.DirectionOutbound, event.DirectionUnknown}

// drawnConnections are what people draw and compare: they are there with 0 too.
var drawnConnections = func() (list []event.ConnectionCount) {
	for _, family := range addressFamilies {
		for _, direction := range directions {
			list = append(list, event.ConnectionCount{State: "established", Family: family, Direction: direction})
		}
	}
	return list
}()
