package dns

// Causes of what could not be followed, as in metrics and heartbeat.
const (
	// CauseMalformed: a message could not be read to the end of its answers.
	CauseMalformed = "dns_message_malformed"
	// CauseCut: a datagram was longer than what is taken of it, and had answers there.
	CauseCut = "dns_message_cut"
	// CauseQueryEvicted: too many queries waited for an answer.
	CauseQueryEvicted = "dns_query_evicted"
	// CauseQueryUnfinished: the sensor ended before the answer came.
	CauseQueryUnfinished = "dns_query_unfinished"
	// CauseStreamGap: bytes of a TCP connection were missing.
	CauseStreamGap = "dns_stream_gap"
	// CauseStreamMalformed: bytes of a TCP connection were no message.
	CauseStreamMalformed = "dns_stream_malformed"
	// CauseStreamEvicted: too much waited for the rest of its message.
	CauseStreamEvicted = "dns_stream_evicted"
)

// Causes lists every cause, for metrics that start at zero.
func Causes() []string {
	return []string{CauseMalformed, CauseCut, CauseQueryEvicted, CauseQueryUnfinished, CauseStreamGap, CauseStreamMalformed, CauseStreamEvicted}
}
