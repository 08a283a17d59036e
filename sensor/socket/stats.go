package socket

import "maps"

// Cause names why something of the socket tables is missing. It is the value
// of a metric label, and a key of the heartbeat's losses.
type Cause string

const (
	// CauseRowShort: a row that ends early, or has a hole.
	CauseRowShort Cause = "socket_row_short"
	// CauseRowLong: a row longer than any the kernel prints.
	CauseRowLong Cause = "socket_row_long"
	// CauseRowAddress: an address of the wrong length, or ends of two families.
	CauseRowAddress Cause = "socket_row_address"
	// CauseRowNumber: something else where a number belongs.
	CauseRowNumber Cause = "socket_row_number"
	// CauseRowRange: a number beyond its range, such as port 70000.
	CauseRowRange Cause = "socket_row_range"
	// CauseNamespaceGone: a namespace that ended before it was read. Its
	// sockets ended with it.
	CauseNamespaceGone Cause = "namespace_gone"
	// CauseNamespaceDenied: a right is missing: CAP_SYS_PTRACE to see which
	// namespace a process lives in, CAP_SYS_ADMIN to enter one that only a
	// mount holds.
	CauseNamespaceDenied Cause = "namespace_denied"
	// CauseNamespaceStuck: a namespace held by a mount that did not answer in time.
	CauseNamespaceStuck Cause = "namespace_stuck"
	// CauseTableUnreadable: a socket table that could not be read to its end.
	CauseTableUnreadable Cause = "socket_table_unreadable"
)

// Causes lists every [Cause], for metrics that start at zero.
func Causes() []Cause {
	return []Cause{CauseRowShort, CauseRowLong, CauseRowAddress, CauseRowNumber, CauseRowRange,
		CauseNamespaceGone, CauseNamespaceDenied, CauseNamespaceStuck, CauseTableUnreadable}
}

// Stats count since the [Reader] began. They only grow.
type Stats struct {
	// Counts has an entry for each [Cause]: rows, namespaces or tables, and for
	// CauseNamespaceDenied also processes, once at each read.
	Counts map[Cause]uint64
	// First is the first thing that was lost to a cause: the row, cut to
	// [longestText] bytes, or the error.
	First map[Cause]string
}

// longestText is how much of an offending row is kept, in bytes.
const longestText = 120

// Stats returns a copy. It may be called at any time, while a read runs too.
func (r *Reader) Stats() Stats {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	stats := Stats{Counts: map[Cause]uint64{}, First: maps.Clone(r.first)}
	for _, cause := range Causes() {
		stats.Counts[cause] = r.counts[cause]
	}
	return stats
}

// Counts returns the counts of [Reader.Stats] under plain names.
func (r *Reader) Counts() map[string]uint64 {
	counts := map[string]uint64{}
	for cause, n := range r.Stats().Counts {
		counts[string(cause)] = n
	}
	return counts
}

// lose counts. The first loss of each cause is worth a line in the log; the
// counters tell of the others.
func (r *Reader) lose(cause Cause, n uint64, what func() string) {
	r.mutex.Lock()
	if r.counts == nil {
		r.counts, r.first = map[Cause]uint64{}, map[Cause]string{}
	}
	before := r.counts[cause]
	r.counts[cause] = before + n
	var first string
	if before == 0 {
		first = what()
		r.first[cause] = first
	}
	r.mutex.Unlock()
	if before == 0 && r.Log != nil {
		r.Log.Warn("Something of the socket tables is missing; further losses of this cause are only counted",
			"cause", string(cause), "first", first)
	}
}
