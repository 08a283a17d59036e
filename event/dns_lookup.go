package event

import (
	"slices"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// DNSLookup is a call of getaddrinfo(3), by whatever it was answered: DNS, a
// file, a cache. Its timestamp is that of the call.
type DNSLookup struct {
	Envelope
	// Netns is the inode of the network namespace of the caller.
	Netns uint64
	// Name that was looked up, in lower case and without a dot at the end, and the
	// Service as the caller gave it. Either may be absent.
	Name, Service string
	// Result is [ResultOK], or the name of the return value in netdb.h: EAI_NONAME, ….
	Result string
	// Errno is the name of the error behind EAI_SYSTEM.
	Errno string
	// Latency of the call.
	Latency Optional[time.Duration]
	// Addresses that it returned, in their order and each once, at most [MaxAnswers].
	Addresses []string
	// Library is the path of the libc, as its process sees it.
	Library string
	Process Process
}

// Kind is [KindDNSLookup].
func (*DNSLookup) Kind() Kind { return KindDNSLookup }

var dnsLookupFields = slices.Concat(
	[]Field{
		{Column: "netns", Attribute: AttrNetns, Scope: ScopeRecord, Source: "the caller's namespace",
			at: of(func(l *DNSLookup) any { return &l.Netns })},
		{Column: "name", Attribute: string(semconv.DNSQuestionNameKey), Scope: ScopeRecord, Source: "getaddrinfo: node, in lower case",
			Null: "the call had none", at: of(func(l *DNSLookup) any { return &l.Name })},
		{Column: "service", Attribute: AttrLookupService, Scope: ScopeRecord, Source: "getaddrinfo: service",
			Null: "the call had none", at: of(func(l *DNSLookup) any { return &l.Service })},
		{Column: "result", Attribute: AttrLookupResult, Scope: ScopeRecord, Source: "the return value: ok, EAI_NONAME, …",
			at: of(func(l *DNSLookup) any { return &l.Result })},
		{Column: "errno", Attribute: AttrLookupErrno, Scope: ScopeRecord, Source: "errno of the caller",
			Null: "result is not EAI_SYSTEM, or it could not be read", at: of(func(l *DNSLookup) any { return &l.Errno })},
		{Column: "latency_secs", Attribute: AttrLookupLatency, Scope: ScopeRecord, Unit: "s", Source: "boot clock, from call to return",
			Null: "not told", at: of(func(l *DNSLookup) any { return &l.Latency })},
		{Column: "answers", Attribute: string(semconv.DNSAnswersKey), Scope: ScopeRecord, Source: "getaddrinfo: res, the first 64 addresses",
			Null: "none was returned", at: of(func(l *DNSLookup) any { return &l.Addresses })},
		{Column: "library", Attribute: AttrLookupLibrary, Scope: ScopeRecord, Source: "/proc/PID/maps",
			Null: "not told", at: of(func(l *DNSLookup) any { return &l.Library })},
	},
	processFields(func(e Event) *Process { return &e.(*DNSLookup).Process }),
)
