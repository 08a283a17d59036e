package deliver

import "github.com/google/uuid"

// damage finds out what damaged segments have cost, from the numbers of the
// entries around them.
type damage struct {
	last     mark // the end of the newest intact entry
	broken   bool // something is missing since
	segments uint64
	gone     []lost
}

// found is told of each entry in order, and nil where a segment is damaged.
func (d *damage) found(h *header) {
	if h == nil {
		d.broken, d.segments = true, d.segments+1
		return
	}
	if d.broken {
		switch d.last.Session {
		case h.Session:
			d.hole(h.Session, d.last.Last+1, h.First-1, h.Before-d.last.After)
		case uuid.Nil: // nobody knows what was sent long ago
			d.gone = append(d.gone, lost{Session: h.Session, First: 1, Last: h.First - 1, Cause: CauseCorrupt})
		default:
			d.end(uuid.Nil)
			d.hole(h.Session, 1, h.First-1, h.Before)
		}
	}
	d.last, d.broken = h.mark(), false
}

func (d *damage) hole(session uuid.UUID, first, last, records uint64) {
	if records > 0 && first <= last {
		d.gone = append(d.gone, lost{Session: session, First: first, Last: last, Cause: CauseCorrupt, Records: records})
	}
}

// end tells of a session whose end is missing, unless it is that of except.
func (d *damage) end(except uuid.UUID) {
	if d.broken && d.last.Session != uuid.Nil && d.last.Session != except {
		d.gone = append(d.gone, lost{Session: d.last.Session, First: d.last.Last + 1, Cause: CauseCorrupt})
	}
}
