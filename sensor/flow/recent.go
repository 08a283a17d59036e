package flow

// recent remembers the IDs that were added last.
type recent struct {
	known map[uint64]struct{}
	order []uint64 // as they were added, from next on
	next  int
}

// recentKept is how many are remembered: more than can end between two looks at
// what the kernel tells, or while a table is read.
const recentKept = 1 << 16

func (r *recent) has(id uint64) bool {
	_, known := r.known[id]
	return known
}

// add takes an ID that is not there.
func (r *recent) add(id uint64) {
	if r.known == nil {
		r.known = map[uint64]struct{}{}
	}
	if len(r.order) < recentKept {
		r.order = append(r.order, id)
	} else {
		delete(r.known, r.order[r.next])
		r.order[r.next] = id
		r.next = (r.next + 1) % recentKept
	}
	r.known[id] = struct{}{}
}
