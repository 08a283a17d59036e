package event

import (
	"slices"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Protocols of DNS, in the words of network.protocol.name.
const (
	// ProtocolDNS is port 53, UDP and TCP (RFC 1035).
	ProtocolDNS = "dns"
	// ProtocolMDNS is port 5353 (RFC 6762).
	ProtocolMDNS = "mdns"
	// ProtocolDoT is port 853, over TLS (RFC 7858).
	ProtocolDoT = "dot"
)

// Results of a DNS query. An rcode other than NOERROR is an answer too.
const (
	// DNSAnswered: an answer came.
	DNSAnswered = "answered"
	// DNSNoAnswer: none came within 5.5 s of the last transmission.
	DNSNoAnswer = "no_answer"
	// DNSEncrypted: a session over TLS, in which nothing can be seen.
	DNSEncrypted = "encrypted"
	// DNSUnfinished: the sensor ended, had no room to wait for the answer, or lost
	// packets among which it may have been.
	DNSUnfinished = "unfinished"
)

// DNSQuery is a question that a process sent to a DNS server, with its answer;
// for DNS over TLS, a session. Its timestamp is that of the first transmission.
type DNSQuery struct {
	Envelope
	// Ends of the first transmission: the source is the process that asks.
	Ends
	// Protocol is one of the Protocol constants.
	Protocol string
	// Name in presentation format (RFC 1035, 5.1): in lower case, without the dot at
	// the end; "." is the root. Octets that are not printable ASCII are \DDD, and
	// those that mean something in it follow a \.
	Name string
	// Type and Class by their names of RFC 1035 and later, or TYPE and CLASS with
	// the number (RFC 3597). All three are empty for DNS over TLS.
	Type, Class string
	// ID of the message in its first transmission.
	ID Optional[uint32]
	// Servers that were asked, each once, in the order of the first time.
	Servers []string
	// Attempts is the number of transmissions.
	Attempts Optional[uint32]
	// Result is one of the DNS constants.
	Result string
	// RCode of the answer by its name: NOERROR, NXDOMAIN, …, or RCODE and the number.
	RCode string
	// Latency from the first transmission to the answer.
	Latency Optional[time.Duration]
	// Answers, AnswerTypes and AnswerTTLs (s) are the records of the answer section,
	// in its order and at most [MaxAnswers]: the data of each in presentation format
	// (of an alias the name as Name has it), its type and its time to live.
	Answers, AnswerTypes []string
	AnswerTTLs           []uint32
	// AnswerCount is how many records the answer says that it has.
	AnswerCount Optional[uint32]
	// Truncated is the flag TC of the answer: the server had more to say.
	Truncated    Optional[bool]
	Process      Process
	ConnectionID Optional[uint64]
}

// MaxAnswers is how many records of an answer an event has at most.
const MaxAnswers = 64

// Kind is [KindDNSQuery].
func (*DNSQuery) Kind() Kind { return KindDNSQuery }

const (
	noQuestion = "the session is encrypted"
	noAnswer   = "there was no answer"
)

var dnsQueryFields = slices.Concat(
	endsFields(func(e Event) *Ends { return &e.(*DNSQuery).Ends }),
	[]Field{
		{Column: "protocol", Attribute: string(semconv.NetworkProtocolNameKey), Scope: ScopeRecord, Source: "the port of the server",
			at: of(func(q *DNSQuery) any { return &q.Protocol })},
		{Column: "name", Attribute: string(semconv.DNSQuestionNameKey), Scope: ScopeRecord, Source: "question section, in lower case",
			Null: noQuestion, at: of(func(q *DNSQuery) any { return &q.Name })},
		{Column: "query_type", Attribute: AttrDNSType, Scope: ScopeRecord, Source: "question section",
			Null: noQuestion, at: of(func(q *DNSQuery) any { return &q.Type })},
		{Column: "query_class", Attribute: AttrDNSClass, Scope: ScopeRecord, Source: "question section",
			Null: noQuestion, at: of(func(q *DNSQuery) any { return &q.Class })},
		{Column: "dns_id", Attribute: AttrDNSID, Scope: ScopeRecord, Source: "header of the first transmission",
			Null: noQuestion, at: of(func(q *DNSQuery) any { return &q.ID })},
		{Column: "servers", Attribute: AttrDNSServers, Scope: ScopeRecord, Source: "the sockets, in the order of the first transmission to each",
			Null: "not told", at: of(func(q *DNSQuery) any { return &q.Servers })},
		{Column: "attempts", Attribute: AttrDNSAttempts, Scope: ScopeRecord, Source: "transmissions",
			Null: noQuestion, at: of(func(q *DNSQuery) any { return &q.Attempts })},
		{Column: "result", Attribute: AttrDNSResult, Scope: ScopeRecord, Source: "answered, no_answer, encrypted or unfinished",
			at: of(func(q *DNSQuery) any { return &q.Result })},
		{Column: "rcode", Attribute: AttrDNSRCode, Scope: ScopeRecord, Source: "header of the answer",
			Null: noAnswer, at: of(func(q *DNSQuery) any { return &q.RCode })},
		{Column: "latency_secs", Attribute: AttrDNSLatency, Scope: ScopeRecord, Unit: "s", Source: "boot clock, from the first transmission",
			Null: noAnswer, at: of(func(q *DNSQuery) any { return &q.Latency })},
		{Column: "answers", Attribute: string(semconv.DNSAnswersKey), Scope: ScopeRecord, Source: "answer section: data of the first 64 records",
			Null: noAnswer, at: of(func(q *DNSQuery) any { return &q.Answers })},
		{Column: "answer_types", Attribute: AttrDNSAnswerTypes, Scope: ScopeRecord, Source: "answer section, type of each of answers",
			Null: noAnswer, at: of(func(q *DNSQuery) any { return &q.AnswerTypes })},
		{Column: "answer_ttls", Attribute: AttrDNSAnswerTTLs, Scope: ScopeRecord, Unit: "s", Source: "answer section, TTL of each of answers",
			Null: noAnswer, at: of(func(q *DNSQuery) any { return &q.AnswerTTLs })},
		{Column: "answer_count", Attribute: AttrDNSAnswerCount, Scope: ScopeRecord, Source: "header of the answer",
			Null: noAnswer, at: of(func(q *DNSQuery) any { return &q.AnswerCount })},
		{Column: "truncated", Attribute: AttrDNSTruncated, Scope: ScopeRecord, Source: "header of the answer, flag TC",
			Null: noAnswer, at: of(func(q *DNSQuery) any { return &q.Truncated })},
	},
	processFields(func(e Event) *Process { return &e.(*DNSQuery).Process }),
	[]Field{connectionID(of(func(q *DNSQuery) any { return &q.ConnectionID }))},
)
