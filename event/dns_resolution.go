package event

import (
	"slices"
	"time"
)

// Sources of a host name.
const (
	// NameFromLookup: getaddrinfo returned the address for the name.
	NameFromLookup = "getaddrinfo"
	// NameFromAnswer: an answer of DNS had the address for the name.
	NameFromAnswer = "dns_answer"
)

// DNSResolution is a host name as it was really used: a process connected to an
// address that the name had been looked up for. Its timestamp is that of the connect.
type DNSResolution struct {
	Envelope
	Target
	// Name that was asked for, not an alias that it led to.
	Name string
	// Source is [NameFromLookup] or [NameFromAnswer].
	Source string
	// SameProcess says that the process that connected had asked itself. If not, the
	// name is what another process of the host asked for.
	SameProcess bool
	// Age of the name at the connect: since the lookup returned or the answer came.
	Age time.Duration
	// TTL of the answer; the least of its chain of aliases. getaddrinfo gives none.
	TTL Optional[time.Duration]
	// Others are other names that the address has, the newest first.
	Others       []string
	Process      Process
	ConnectionID Optional[uint64]
}

// Kind is [KindDNSResolution].
func (*DNSResolution) Kind() Kind { return KindDNSResolution }

var dnsResolutionFields = slices.Concat(
	targetFields(func(e Event) *Target { return &e.(*DNSResolution).Target }),
	[]Field{
		{Column: "name", Attribute: AttrPeerName, Scope: ScopeRecord, Source: "see name_source",
			at: of(func(r *DNSResolution) any { return &r.Name })},
		{Column: "name_source", Attribute: AttrNameSource, Scope: ScopeRecord, Source: "getaddrinfo or dns_answer",
			at: of(func(r *DNSResolution) any { return &r.Source })},
		{Column: "same_process", Attribute: AttrNameSameProcess, Scope: ScopeRecord, Source: "pid of the lookup and of the connect",
			at: of(func(r *DNSResolution) any { return &r.SameProcess })},
		{Column: "age_secs", Attribute: AttrNameAge, Scope: ScopeRecord, Unit: "s", Source: "boot clock, from the answer to the connect",
			at: of(func(r *DNSResolution) any { return &r.Age })},
		{Column: "ttl_secs", Attribute: AttrNameTTL, Scope: ScopeRecord, Unit: "s", Source: "answer section, the least of the chain",
			Null: "getaddrinfo gives none", at: of(func(r *DNSResolution) any { return &r.TTL })},
		{Column: "other_names", Attribute: AttrNameOthers, Scope: ScopeRecord, Source: "other names of the address, the newest first",
			Null: "none is known", at: of(func(r *DNSResolution) any { return &r.Others })},
	},
	processFields(func(e Event) *Process { return &e.(*DNSResolution).Process }),
	[]Field{connectionID(of(func(r *DNSResolution) any { return &r.ConnectionID }))},
)
