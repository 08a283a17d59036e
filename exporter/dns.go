package exporter

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/netview-project/netview/event"
)

var (
	dnsQueries = counter("dns_queries_total", "DNS queries with what became of them, by protocol (dns, mdns or dot), transport, type and rcode; rare types and rcodes are other. result is answered, no_answer, encrypted or unfinished.", "protocol", "transport", "type", "result", "rcode")
	dnsLookups = counter("dns_lookups_total", "Calls of getaddrinfo, by their result: ok, or the name of the error.", "result")
	dnsLibrary = gauge("dns_libraries", "Files of a libc that processes have in memory, by what became of them: attached, or why no lookups are told of one; docs/lookups.md. Of libc_denied and libc_no_room, processes.", "state")
	dnsLatency = histogram("dns_latency_seconds", "Time from the first transmission of a query to its answer, on port 53.")
)

var dnsMetrics = family{
	title:   "DNS",
	metrics: []*metric{dnsQueries, dnsLookups, dnsLibrary, dnsLatency},
	collect: func(s *event.State, emit emit) {
		if s.Kernel == nil || s.Kernel.DNS == nil {
			return
		}
		for l, n := range s.Kernel.DNS.Queries {
			emit(dnsQueries, float64(n), l.Protocol, l.Transport, l.Type, l.Result, l.RCode)
		}
		for result, n := range s.Kernel.DNS.Lookups {
			emit(dnsLookups, float64(n), result)
		}
		for state, n := range s.Kernel.DNS.Libraries {
			emit(dnsLibrary, float64(n), state)
		}
	},
	histograms: func(s *event.State, emit func(*metric, *dto.Histogram)) {
		if s.Kernel != nil && s.Kernel.DNS != nil {
			emit(dnsLatency, s.Kernel.DNS.Latency)
		}
	},
}

// measured is a histogram that was filled elsewhere.
type measured struct {
	desc      *prometheus.Desc
	histogram *dto.Histogram
}

// Desc implements [prometheus.Metric].
func (m measured) Desc() *prometheus.Desc { return m.desc }

// Write implements [prometheus.Metric].
func (m measured) Write(to *dto.Metric) error {
	to.Histogram = m.histogram
	return nil
}
