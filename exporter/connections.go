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
		for key, n := range countConnections(s.Snapshot.Connections) {
			emit(connections, n, key[0], key[1], key[2])
		}
		emit(timeWait, float64(s.Snapshot.Heartbeat.TimeWait))
	},
}

var addressFamilies = []string{"ipv4", "ipv6"}

// countConnections counts by state, family and direction. The combinations that
// people draw and compare are there with 0 too.
func countConnections(rows []*event.Connection) map[[3]string]float64 {
	counts := map[[3]string]float64{}
	for _, family := range addressFamilies {
		for _, direction := range []string{event.DirectionInbound, event.DirectionOutbound, event.DirectionUnknown} {
			counts[[3]string{"established", family, direction}] = 0
		}
	}
	for _, c := range rows {
		counts[[3]string{c.State, c.Family, c.Direction}]++
	}
	return counts
}
