package sensor

import (
	"slices"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/flow"
)

// outcomes count what became of attempts to connect and of flows.
type outcomes struct {
	attempts map[event.ConnectLabels]uint64
	finishes map[event.EndLabels]uint64
}

// countedResults have a name of their own in counters; the others are otherResult,
// so that the number of series is bounded. addrnotavail is what a host says that
// has run out of ephemeral ports.
var countedResults = []string{event.ResultOK, flow.ResultRefused, flow.DetailTimedOut, flow.ResultUnreachable, flow.ResultReset, flow.ResultDenied, flow.DetailAborted, "addrnotavail"}

var countedDetails = append([]string{flow.DetailFin, flow.DetailResetByPeer, flow.DetailResetLocally, flow.DetailMissedClose, flow.DetailEvicted}, countedResults...)

const otherResult = "other"

// newOutcomes has what is drawn and compared at zero from the start: the first of a
// kind then is an increase.
func newOutcomes() outcomes {
	o := outcomes{map[event.ConnectLabels]uint64{}, map[event.EndLabels]uint64{}}
	for _, result := range []string{event.ResultOK, flow.ResultRefused, flow.DetailTimedOut, flow.ResultUnreachable, flow.ResultReset, "addrnotavail"} {
		o.attempts[event.ConnectLabels{Transport: event.TransportTCP, Result: result}] = 0
	}
	for _, detail := range []string{flow.DetailFin, flow.DetailResetByPeer, flow.DetailResetLocally} {
		o.finishes[event.EndLabels{FinalState: event.FinalEstablished, FinalDetail: detail}] = 0
		o.finishes[event.EndLabels{FinalState: event.FinalHalfClosed, FinalDetail: detail}] = 0
	}
	o.finishes[event.EndLabels{FinalState: event.FinalStale, FinalDetail: flow.DetailMissedClose}] = 0
	return o
}

func (o *outcomes) attempted(transport, result string) {
	o.attempts[event.ConnectLabels{Transport: transport, Result: counted(countedResults, result)}]++
}

func (o *outcomes) finished(state, detail string) {
	o.finishes[event.EndLabels{FinalState: state, FinalDetail: counted(countedDetails, detail)}]++
}

func counted(names []string, name string) string {
	if slices.Contains(names, name) {
		return name
	}
	return otherResult
}
