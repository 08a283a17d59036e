package socket

import (
	"bytes"
	"math"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// Accepts count, since the namespace began, connections that a listener of it did
// not get (TcpExt of /proc/net/netstat).
type Accepts struct {
	// Overflows: its queue of connections that wait for accept had no room
	// (ListenOverflows). Drops are those, and what went for other reasons
	// (ListenDrops).
	Overflows, Drops uint64
	// Known says whether the kernel told.
	Known bool
}

// readAccepts reads the counters below a directory, such as /proc/PID/task/TID.
// They are not known where its thread has left the namespace.
func (t *tables) readAccepts(dir procdir.Dir) Accepts {
	text, err := t.buffers.ReadFile(dir, "net/netstat")
	if err != nil {
		return Accepts{}
	}
	accepts := parseAccepts(text)
	if !t.livesHere(dir) {
		return Accepts{}
	}
	return accepts
}

// parseAccepts takes them from a line of names and the line of values below it.
func parseAccepts(text []byte) Accepts {
	const prefix = "TcpExt:"
	var a Accepts
	for len(text) > 0 {
		var names, values []byte
		names, text, _ = bytes.Cut(text, []byte("\n"))
		values, text, _ = bytes.Cut(text, []byte("\n"))
		names, isNames := bytes.CutPrefix(names, []byte(prefix))
		values, isValues := bytes.CutPrefix(values, []byte(prefix))
		if !isNames || !isValues {
			continue
		}
		var overflows, drops bool
		for len(names) > 0 && len(values) > 0 {
			var name, value []byte
			name, names, _ = bytes.Cut(bytes.TrimLeft(names, " "), []byte(" "))
			value, values, _ = bytes.Cut(bytes.TrimLeft(values, " "), []byte(" "))
			var into *uint64
			switch string(name) {
			case "ListenOverflows":
				into, overflows = &a.Overflows, true
			case "ListenDrops":
				into, drops = &a.Drops, true
			default:
				continue
			}
			n, fault := decimal(value, math.MaxUint64)
			if fault != "" {
				return Accepts{}
			}
			*into = n
		}
		a.Known = overflows && drops
		return a
	}
	return a
}
