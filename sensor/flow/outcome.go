// Package flow follows TCP connections from connect or accept to their end, and
// decides what became of them. It does no I/O.
package flow

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
)

// States of a TCP socket (include/net/tcp_states.h), as far as they decide.
const (
	established = 1
	synSent     = 2
	synReceived = 3
	finWait1    = 4
	finWait2    = 5
	closeWait   = 8
	lastAck     = 9
	closing     = 11
)

// Details of a flow's end.
const (
	DetailFin          = "fin"
	DetailResetByPeer  = "reset_by_peer"
	DetailResetLocally = "reset_locally"
	DetailTimedOut     = "timed_out"
	DetailAborted      = "aborted"
	DetailMissedClose  = "missed_close"
	DetailEvicted      = "evicted"
)

// Results of an attempt to connect that did not succeed, beside [DetailTimedOut] and
// [DetailAborted].
const (
	ResultRefused     = "refused"
	ResultUnreachable = "unreachable"
	ResultReset       = "reset"
	ResultDenied      = "denied"
)

// results are the names of the errors that a connect most often has; another is
// called by its name in lower case, without the E.
var results = map[unix.Errno]string{
	unix.ECONNREFUSED: ResultRefused,
	unix.ETIMEDOUT:    DetailTimedOut,
	unix.ENETUNREACH:  ResultUnreachable,
	unix.EHOSTUNREACH: ResultUnreachable,
	unix.ECONNRESET:   ResultReset,
	unix.EACCES:       ResultDenied,
	unix.EPERM:        ResultDenied,
}

// Result of an attempt to connect that did not succeed. An error of 0 says that
// the process gave it up.
func Result(errno uint32) string {
	if errno == 0 {
		return DetailAborted
	}
	e := unix.Errno(errno)
	if name, known := results[e]; known {
		return name
	}
	if name := unix.ErrnoName(e); name != "" {
		return strings.ToLower(strings.TrimPrefix(name, "E"))
	}
	return "error"
}

// end is how an established connection ended: its final state and the detail,
// from the socket's state before, its error, and whether our side was closed
// alone until then. FIN_WAIT2 else counts as an ordinary end also without the
// peer's FIN: a socket that nobody holds any more leaves it so, and what the peer
// does then is not seen.
func end(before uint8, errno uint32, half bool) (final, detail string) {
	switch unix.Errno(errno) {
	case unix.ECONNRESET, unix.EPIPE: // EPIPE is that of a reset in CLOSE_WAIT
		detail = DetailResetByPeer
	case unix.ETIMEDOUT:
		detail = DetailTimedOut
	default:
		detail = DetailFin
		if before == established || before == closeWait { // no FIN of ours was sent
			detail = DetailResetLocally
		}
	}
	if before == closeWait || half {
		return event.FinalHalfClosed, detail
	}
	return event.FinalEstablished, detail
}
