package flow

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
)

func TestResult(t *testing.T) {
	for errno, want := range map[unix.Errno]string{0: "aborted", unix.ECONNREFUSED: "refused", unix.ETIMEDOUT: "timed_out", unix.ENETUNREACH: "unreachable", unix.EHOSTUNREACH: "unreachable",
		unix.EADDRNOTAVAIL: "addrnotavail", unix.EPERM: "denied", 4000: "error"} {
		if got := Result(uint32(errno)); got != want {
			t.Errorf("Result(%d) = %q, want %q", errno, got, want)
		}
	}
}

func TestEnd(t *testing.T) {
	for _, c := range []struct {
		before        uint8
		errno         unix.Errno
		half          bool
		final, detail string
	}{
		{finWait2, 0, false, event.FinalEstablished, DetailFin},
		{finWait2, 0, true, event.FinalHalfClosed, DetailFin},
		{finWait2, unix.ECONNRESET, true, event.FinalHalfClosed, DetailResetByPeer},
		{lastAck, 0, false, event.FinalEstablished, DetailFin},
		{closing, 0, false, event.FinalEstablished, DetailFin},
		{established, unix.ECONNRESET, false, event.FinalEstablished, DetailResetByPeer},
		{established, 0, false, event.FinalEstablished, DetailResetLocally},
		{established, unix.ETIMEDOUT, false, event.FinalEstablished, DetailTimedOut},
		{finWait1, unix.ECONNRESET, false, event.FinalEstablished, DetailResetByPeer},
		{finWait1, unix.ETIMEDOUT, false, event.FinalEstablished, DetailTimedOut},
		{closeWait, unix.EPIPE, false, event.FinalHalfClosed, DetailResetByPeer},
		{closeWait, 0, false, event.FinalHalfClosed, DetailResetLocally},
	} {
		if final, detail := end(c.before, uint32(c.errno), c.half); final != c.final || detail != c.detail {
			t.Errorf("end(%d, %v) = %s, %s; want %s, %s", c.before, c.errno, final, detail, c.final, c.detail)
		}
	}
}
