package dns

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/netview-project/netview/event"
)

// other stands for every value of a label that has no name of its own.
const other = "other"

// Values of labels that have names of their own: what is common, and what says that
// something is wrong.
var (
	countedTypes  = set("A", "AAAA", "ANY", "CNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "TXT", "")
	countedRCodes = set("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "")
	// The return values of getaddrinfo (netdb.h of glibc and musl).
	countedResults = set(event.ResultOK, "EAI_ADDRFAMILY", "EAI_AGAIN", "EAI_BADFLAGS", "EAI_FAIL", "EAI_FAMILY", "EAI_MEMORY", "EAI_NODATA",
		"EAI_NONAME", "EAI_OVERFLOW", "EAI_SERVICE", "EAI_SOCKTYPE", "EAI_SYSTEM")
)

func set(names ...string) map[string]bool {
	s := map[string]bool{}
	for _, name := range names {
		s[name] = true
	}
	return s
}

func label(known map[string]bool, value string) string {
	if known[value] {
		return value
	}
	return other
}

// Counters counts queries and lookups since the sensor's start, by labels whose
// values are bounded.
type Counters struct {
	queries map[event.DNSLabels]uint64
	lookups map[string]uint64
	latency prometheus.Histogram
}

// NewCounters returns counters. What is usual starts at zero, so that the first of
// it is a rise.
func NewCounters() *Counters {
	c := &Counters{queries: map[event.DNSLabels]uint64{}, lookups: map[string]uint64{},
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "latency_seconds", // the exporter gives the name that is shown
			// From a cache on the host to the last repetition of a resolver.
			Buckets:                        []float64{.0001, .0005, .001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
			NativeHistogramBucketFactor:    1.1,
			NativeHistogramMaxBucketNumber: 160,
			// No reset at the limit: counters only grow, and the resolution falls instead.
			NativeHistogramMinResetDuration: 0,
		})}
	for _, kind := range []string{"A", "AAAA"} {
		usual := event.DNSLabels{Protocol: event.ProtocolDNS, Transport: event.TransportUDP, Type: kind, Result: event.DNSNoAnswer}
		c.queries[usual] = 0
		usual.Result = event.DNSAnswered
		for _, usual.RCode = range []string{"NOERROR", "NXDOMAIN", "SERVFAIL"} {
			c.queries[usual] = 0
		}
	}
	for _, result := range []string{event.ResultOK, "EAI_AGAIN", "EAI_NONAME"} {
		c.lookups[result] = 0
	}
	return c
}

// Query counts a query. Its latency counts where it is of port 53: responders of
// mDNS wait on purpose.
func (c *Counters) Query(q *event.DNSQuery) {
	c.queries[event.DNSLabels{Protocol: q.Protocol, Transport: q.Transport, Type: label(countedTypes, q.Type), Result: q.Result, RCode: label(countedRCodes, q.RCode)}]++
	if q.Latency.Known && q.Protocol == event.ProtocolDNS {
		c.latency.Observe(q.Latency.Value.Seconds())
	}
}

// Lookup counts a call of getaddrinfo.
func (c *Counters) Lookup(l *event.DNSLookup) { c.lookups[label(countedResults, l.Result)]++ }

// State returns a copy of the counts.
func (c *Counters) State() *event.DNS {
	s := &event.DNS{Queries: maps.Clone(c.queries), Lookups: maps.Clone(c.lookups)}
	var metric dto.Metric
	if err := c.latency.Write(&metric); err != nil {
		panic(err) // it has no labels that could be wrong
	}
	s.Latency = metric.Histogram
	return s
}
