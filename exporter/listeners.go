package exporter

import (
	"strconv"

	"github.com/netview-project/netview/event"
)

var (
	listeners = gauge("listeners", "Listening TCP sockets, and bound and unconnected UDP sockets.", "transport", "family")
	ephemeral = gauge("ephemeral_udp_listeners", "UDP listeners among netview_listeners on a port that the kernel hands out by itself: most often clients.", "family")
	telecom   = gauge("telecom_listeners", "UDP listeners on the fixed ports of telecom services.", "service", "port")
	appeared  = counter("listeners_appeared_total", "Listeners that were there at a heartbeat and not at the one before; ephemeral UDP ports are left out.", "transport")
	vanished  = counter("listeners_vanished_total", "Listeners that were there at a heartbeat and not at the next; ephemeral UDP ports are left out.", "transport")
)

// telecomServices are UDP ports with a meaning of their own: GTP-U (3GPP TS
// 29.281), PFCP (TS 29.244), RADIUS (RFC 2865, 2866), SCTP over UDP (RFC 6951).
var telecomServices = []struct {
	port uint16
	name string
}{{2152, "gtp_u"}, {8805, "pfcp"}, {1812, "radius"}, {1813, "radius_accounting"}, {9899, "sctp_over_udp"}}

var listenerMetrics = family{
	title:   "Listeners",
	metrics: []*metric{listeners, ephemeral, telecom, appeared, vanished},
	collect: func(s *event.State, emit emit) {
		for _, transport := range []string{event.TransportTCP, event.TransportUDP} {
			emit(appeared, float64(s.Churn.Appeared[transport]), transport)
			emit(vanished, float64(s.Churn.Vanished[transport]), transport)
		}
		if s.Snapshot == nil {
			return
		}
		for _, family := range addressFamilies {
			for _, transport := range []string{event.TransportTCP, event.TransportUDP} {
				lasting := s.Snapshot.Listeners[event.ListenerCount{Transport: transport, Family: family}]
				short := s.Snapshot.Listeners[event.ListenerCount{Transport: transport, Family: family, Ephemeral: true}]
				emit(listeners, float64(lasting+short), transport, family)
				if transport == event.TransportUDP {
					emit(ephemeral, float64(short), family)
				}
			}
		}
		for _, service := range telecomServices {
			emit(telecom, float64(s.Snapshot.UDPPorts[service.port]), service.name, strconv.Itoa(int(service.port)))
		}
	},
}
