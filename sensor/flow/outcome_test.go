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
	const finWait1, finWait2, lastAck, closing = 4, 5, 9, 11
	for _, c := range []struct {
		before        uint8
		errno         unix.Errno
		final, detail string
	}{
		{finWait2, 0, event.FinalEstablished, DetailFin},
		{lastAck, 0, event.FinalEstablished, DetailFin},
		{closing, 0, event.FinalEstablished, DetailFin},
		{Established, unix.ECONNRESET, event.FinalEstablished, DetailResetByPeer},
		{Established, 0, event.FinalEstablished, DetailResetLocally},
		{Established, unix.ETIMEDOUT, event.FinalEstablished, DetailTimedOut},
		{finWait1, unix.ECONNRESET, event.FinalEstablished, DetailResetByPeer},
		{finWait1, unix.ETIMEDOUT, event.FinalEstablished, DetailTimedOut},
		{CloseWait, unix.EPIPE, event.FinalHalfClosed, DetailResetByPeer},
		{CloseWait, 0, event.FinalHalfClosed, DetailResetLocally},
	} {
		if final, detail := End(c.before, uint32(c.errno)); final != c.final || detail != c.detail {
			t.Errorf("End(%d, %v) = %s, %s; want %s, %s", c.before, c.errno, final, detail, c.final, c.detail)
		}
	}
}
