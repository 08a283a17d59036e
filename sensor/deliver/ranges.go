package deliver

import "slices"

// span is a range of numbers, both ends included.
type span struct{ First, Last uint64 }

// ranges is a set of numbers: sorted spans that neither overlap nor touch.
type ranges []span

// add puts numbers into the set.
func (r *ranges) add(first, last uint64) {
	from, _ := slices.BinarySearchFunc(*r, first, func(s span, n uint64) int {
		if s.Last+1 < n {
			return -1
		}
		return 1
	})
	to := from
	for ; to < len(*r) && (*r)[to].First <= last+1; to++ {
		first, last = min(first, (*r)[to].First), max(last, (*r)[to].Last)
	}
	*r = slices.Replace(*r, from, to, span{first, last})
}

// remove takes numbers out of the set.
func (r *ranges) remove(first, last uint64) {
	var rest ranges
	for _, s := range *r {
		if s.Last < first || s.First > last {
			rest = append(rest, s)
			continue
		}
		if s.First < first {
			rest = append(rest, span{s.First, first - 1})
		}
		if s.Last > last {
			rest = append(rest, span{last + 1, s.Last})
		}
	}
	*r = rest
}

// contiguous is the highest number such that it and all from 1 on are in the
// set; 0 where 1 is not.
func (r ranges) contiguous() uint64 {
	if len(r) == 0 || r[0].First > 1 {
		return 0
	}
	return r[0].Last
}
