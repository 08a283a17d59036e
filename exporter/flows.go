package exporter

import "github.com/netview-project/netview/event"

var (
	flows       = gauge("flows", "TCP flows that live, by state and direction.", "state", "direction")
	events      = counter("events_total", "Events made of what the kernel told, by kind.", "kind")
	connects    = counter("connects_total", "Attempts to connect, by transport and result; rare results are other.", "transport", "result")
	flowsEnded  = counter("flows_ended_total", "TCP flows that ended, by final state and its detail; rare details are other.", "final_state", "final_detail")
	flowBytes   = counter("tcp_bytes_total", "Payload of all TCP flows since the sensor met them, as of the last heartbeat or their end: sent and acknowledged, or received.", "direction")
	retransmits = counter("tcp_retransmits_total", "TCP segments that were sent again, of all flows since the sensor met them.")
	difference  = counter("flow_differences_total", "What the flows by eBPF and the socket tables said differently; the sensor audits itself with it.", "difference")
)

var flowMetrics = family{
	title:   "Flows",
	metrics: []*metric{flows, events, connects, flowsEnded, flowBytes, retransmits, difference},
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
		for l, n := range s.Kernel.Connects {
			emit(connects, float64(n), l.Transport, l.Result)
		}
		for l, n := range s.Kernel.Ended {
			emit(flowsEnded, float64(n), l.FinalState, l.FinalDetail)
		}
		emit(flowBytes, float64(s.Kernel.BytesSent), "sent")
		emit(flowBytes, float64(s.Kernel.BytesReceived), "received")
		emit(retransmits, float64(s.Kernel.Retransmits))
		for name, n := range s.Kernel.Audit {
			emit(difference, float64(n), name)
		}
	},
}
