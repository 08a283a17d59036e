package dns

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/netview-project/netview/event"
)

// TestLabelsAreBounded: whatever is asked and answered, there are so many series.
func TestLabelsAreBounded(t *testing.T) {
	c := NewCounters()
	for kind := range 1 << 16 {
		for _, rcode := range []int{kind, dns.RcodeSuccess, dns.RcodeNameError} {
			m := message{flags: uint16(rcode & 0xF)}
			q := &event.DNSQuery{Ends: event.Ends{Transport: []string{"udp", "tcp"}[kind&1]}, Protocol: event.ProtocolDNS, Type: typeName(uint16(kind)), Result: event.DNSAnswered, RCode: m.rcode(), Latency: event.Some(time.Millisecond)}
			c.Query(q)
		}
	}
	c.Query(&event.DNSQuery{Protocol: event.ProtocolMDNS, Result: event.DNSAnswered, Latency: event.Some(time.Hour)})
	for i := range 1000 {
		c.Lookup(&event.DNSLookup{Result: fmt.Sprintf("EAI_%d", i)})
	}
	c.Lookup(&event.DNSLookup{Result: event.ResultOK})
	s := c.State()
	// Types with a name of their own and other, by transport and by rcode with a name
	// of its own or other.
	if bound := len(countedTypes) * 2 * len(countedRCodes); len(s.Queries) > bound+1 {
		t.Errorf("%d series, at most %d may be", len(s.Queries), bound)
	}
	var sum uint64
	for _, n := range s.Queries {
		sum += n
	}
	if sum != 3<<16+1 || s.Latency.GetSampleCount() != 3<<16 || s.Latency.Schema == nil || len(s.Latency.Bucket) == 0 {
		t.Errorf("%d are counted, of %d the latency", sum, s.Latency.GetSampleCount())
	}
	if len(s.Lookups) != 4 || s.Lookups["other"] != 1000 || s.Lookups["ok"] != 1 {
		t.Errorf("lookups %v", s.Lookups)
	}
	if s.Queries[event.DNSLabels{Protocol: "dns", Transport: "udp", Type: "AAAA", Result: "answered", RCode: "NXDOMAIN"}] == 0 {
		t.Errorf("no AAAA in %v", s.Queries)
	}
	if s.Queries[event.DNSLabels{Protocol: "dns", Transport: "tcp", Type: "other", Result: "answered", RCode: "other"}] == 0 {
		t.Errorf("nothing is other: %v", s.Queries)
	}
}
