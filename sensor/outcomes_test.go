package sensor

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/sensor/flow"
)

// TestOutcomesAreBounded: no error number makes a series of its own that is not
// in the list.
func TestOutcomesAreBounded(t *testing.T) {
	o := newOutcomes()
	for errno := range uint32(5000) {
		for _, transport := range []string{event.TransportTCP, event.TransportUDP} {
			o.attempted(transport, flow.Result(errno))
		}
		o.finished(event.FinalRefused, flow.Result(errno))
	}
	if len(o.attempts) > 2*(len(countedResults)+1) || len(o.finishes) > len(newOutcomes().finishes)+len(countedResults)+1 {
		t.Errorf("%v %v", o.attempts, o.finishes)
	}
	if n := o.attempts[event.ConnectLabels{Transport: "tcp", Result: "unreachable"}]; n != 2 {
		t.Errorf("%d of two errors are unreachable", n)
	}
}

// TestOutcomes: a refused attempt, one that succeeds, and its end, in the counters.
func TestOutcomes(t *testing.T) {
	ns := testns.New(t)
	w := watchNamespace(t, ns)
	before := w.happenings.state()
	ns.Do(t, func() error {
		if _, err := net.Dial("tcp", "127.0.0.1:9"); !errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("port 9 is not closed: %w", err)
		}
		return nil
	})
	meet(t, ns, "tcp4", "127.0.0.1", "127.0.0.1", func(client, server *net.TCPConn) error {
		return errors.Join(client.Close(), server.Close())
	})
	w.probe.Sync(t.Context())
	after := w.happenings.state()
	gained := func(result string) uint64 {
		l := event.ConnectLabels{Transport: event.TransportTCP, Result: result}
		return after.Connects[l] - before.Connects[l]
	}
	ended := func(state, detail string) uint64 {
		l := event.EndLabels{FinalState: state, FinalDetail: detail}
		return after.Ended[l] - before.Ended[l]
	}
	// Others may connect meanwhile.
	if gained("refused") == 0 || gained("ok") == 0 || ended(event.FinalRefused, "refused") == 0 || ended(event.FinalEstablished, flow.DetailFin) < 2 {
		t.Errorf("%v %v", after.Connects, after.Ended)
	}
}
