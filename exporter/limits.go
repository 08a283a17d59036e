package exporter

import "github.com/netview-project/netview/event"

var (
	portsUsed       = gauge("ephemeral_ports_used_ratio", "Largest part (0 to 1) of a namespace's ephemeral ports that TCP sockets, those in TIME_WAIT among them, take from one local address to one destination.")
	listenOverflows = counter("tcp_listen_overflows_total", "Connections that a listener did not get since its queue was full (TcpExt ListenOverflows), of all network namespaces since the sensor met them.")
	listenDrops     = counter("tcp_listen_drops_total", "Connections that a listener did not get for any reason, those of netview_tcp_listen_overflows_total among them (TcpExt ListenDrops).")
	conntrack       = gauge("conntrack_entries", "Connections that the conntrack table of the sensor's own network namespace holds; absent where there is none.")
	conntrackLimit  = gauge("conntrack_entries_limit", "Connections that the conntrack table can hold.")
)

var limitMetrics = family{
	title:   "Limits",
	metrics: []*metric{portsUsed, listenOverflows, listenDrops, conntrack, conntrackLimit},
	collect: func(s *event.State, emit emit) {
		l := s.Limits
		if l == nil {
			return
		}
		emit(portsUsed, l.EphemeralPorts)
		emit(listenOverflows, float64(l.ListenOverflows))
		emit(listenDrops, float64(l.ListenDrops))
		if l.ConntrackLimit > 0 {
			emit(conntrack, float64(l.Conntrack))
			emit(conntrackLimit, float64(l.ConntrackLimit))
		}
	},
}
