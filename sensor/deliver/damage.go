package deliver

import (
	"errors"

	"github.com/google/uuid"
)

// damage finds out what segments that cannot be read to their end have cost,
// from the numbers of the entries around them.
type damage struct {
	last mark // the end of the newest intact entry
	// What is missing since. Torn is the end of a segment whose process was killed,
	// or whose disk was full, while it wrote: what was written is whole, and what
	// was not is a matter of the session's end.
	broken, torn bool
	// anyones is true where a broken segment has no entry that tells whose it was.
	anyones  bool
	segments uint64
	gone     []lost
}

// cannotRead is told of a segment that cannot be read beyond so many entries.
func (d *damage) cannotRead(err error, entries int) {
	d.segments++
	if errors.Is(err, errTorn) {
		d.torn = true
		return
	}
	d.broken = true
	d.anyones = d.anyones || entries == 0
}

// found is told of each entry in order.
func (d *damage) found(h *header) {
	switch {
	case h.Session == d.last.Session:
		if d.broken {
			d.hole(h.Session, d.last.Last+1, h.First-1, h.Before-d.last.After)
		}
	case d.last.Session != uuid.Nil:
		d.end(uuid.Nil)
		if d.anyones { // a segment has the entries of one session
			d.hole(h.Session, 1, h.First-1, h.Before)
		}
	case d.broken: // nobody knows what was sent long ago
		d.gone = append(d.gone, lost{Session: h.Session, First: 1, Last: h.First - 1, Cause: CauseCorrupt})
	}
	d.last = h.mark()
	d.broken, d.torn, d.anyones = false, false, false
}

func (d *damage) hole(session uuid.UUID, first, last, records uint64) {
	if records > 0 && first <= last {
		d.gone = append(d.gone, lost{Session: session, First: first, Last: last, Cause: CauseCorrupt, Records: records})
	}
}

// end tells of a session whose end is missing, unless it is that of except.
func (d *damage) end(except uuid.UUID) {
	if d.last.Session == uuid.Nil || d.last.Session == except {
		return
	}
	if d.broken {
		d.gone = append(d.gone, lost{Session: d.last.Session, First: d.last.Last + 1, Cause: CauseCorrupt})
	} else if d.torn {
		d.gone = append(d.gone, lost{Session: d.last.Session, First: d.last.Last + 1, Cause: CauseUncleanEnd})
	}
}
