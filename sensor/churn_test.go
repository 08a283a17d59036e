package sensor

import (
	"testing"

	"github.com/netview-project/netview/internal/testproc"
)

// TestChurn: listeners that come and go are counted by address and port, not by
// socket: a process that is replaced between two heartbeats changes nothing.
func TestChurn(t *testing.T) {
	h := testproc.New(t)
	s, _ := taker(h, t, Config{})
	step := func(what string, appeared, vanished uint64) {
		t.Helper()
		h.Write()
		f, err := s.take()
		if err != nil {
			t.Fatal(err)
		}
		if f.churn.Appeared["tcp"] != appeared || f.churn.Vanished["tcp"] != vanished || f.churn.Appeared["udp"] != 0 || f.churn.Vanished["udp"] != 0 {
			t.Errorf("%s: %+v, want %d TCP listeners appeared and %d vanished", what, f.churn, appeared, vanished)
		}
	}
	listen := func(port, inode int) {
		h.Socket("tcp", testproc.Any4, port, testproc.Any4, 0, testproc.Listen, inode, false)
	}
	listen(80, 1)
	step("at the start", 0, 0)
	h.Forget()
	listen(80, 2)
	step("replaced", 0, 0)
	listen(81, 3)
	h.Socket("udp", testproc.Any4, 60000, testproc.Any4, 0, testproc.Closed, 4, false) // ephemeral
	step("a new one", 1, 0)
	h.Forget()
	step("all gone", 1, 2)
	listen(80, 5)
	step("one back", 2, 2)
}

// TestChurnOfAnUnreadableNamespace: what cannot be read has not vanished.
func TestChurnOfAnUnreadableNamespace(t *testing.T) {
	h := testproc.New(t)
	h.Socket("tcp", testproc.Any4, 80, testproc.Any4, 0, testproc.Listen, 1, false)
	s, tick := taker(h, t, Config{})
	tick(0)
	s.table.Seen[0].Missing = "namespace_gone"
	if c := s.churn.update(nil, s.table.Seen); c.Vanished["tcp"] != 0 {
		t.Errorf("unreadable: %+v", c)
	}
	s.table.Seen[0].Missing = ""
	if c := s.churn.update(s.table.Rows, s.table.Seen); c.Appeared["tcp"] != 0 {
		t.Errorf("readable again: %+v", c)
	}
}
