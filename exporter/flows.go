package exporter

import "github.com/netview-project/netview/event"

var (
	flows       = gauge("flows", "TCP flows that live, by state and direction.", "state", "direction")
	events      = counter("events_total", "Events made of what the kernel told, by kind.", "kind")
	flowBytes   = counter("tcp_bytes_total", "Payload of all TCP flows since the sensor met them, as of the last heartbeat or their end: sent and acknowledged, or received.", "direction")
	retransmits = counter("tcp_retransmits_total", "TCP segments that were sent again, of all flows since the sensor met them.")
	difference  = counter("flow_differences_total", "What the flows by eBPF and the socket tables said differently; the sensor audits itself with it.", "difference")
)

var flowMetrics = family{
	title:   "Flows",
	metrics: []*metric{flows, events, flowBytes, retransmits, difference},
	collect: func(s *event.State, emit emit) {
		if s.Kernel == nil {
			return
		}
		if s.Snapshot != nil {
			for _, state := range []string{event.FlowEstablished, event.FlowHalfClosed} {
				for _, direction := range directions {
					emit(flows, float64(s.Snapshot.Flows[event.FlowCount{State: state, Direction: direction}]), state, direction)
				}
			}
		}
		for kind, n := range s.Kernel.Events {
			emit(events, float64(n), string(kind))
		}
		emit(flowBytes, float64(s.Kernel.BytesSent), "sent")
		emit(flowBytes, float64(s.Kernel.BytesReceived), "received")
		emit(retransmits, float64(s.Kernel.Retransmits))
		for name, n := range s.Kernel.Audit {
			emit(difference, float64(n), name)
		}
	},
}
