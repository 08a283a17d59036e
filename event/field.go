package event

import (
	"net/netip"
	"time"

	"github.com/google/uuid"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Scope says where in an OTLP request a field travels.
type Scope string

// The places a field travels in.
const (
	ScopeResource Scope = "resource"  // attribute of the resource
	ScopeRecord   Scope = "attribute" // attribute of the log record
	ScopeNative   Scope = "record"    // a member of the log record itself
)

// Field describes one field of a kind, once: for the encoder, the decoder, the
// ClickHouse columns and the table in docs/data-model.md.
type Field struct {
	// Column is the name in ClickHouse and in every view.
	Column string
	// Attribute is the OTLP name.
	Attribute string
	// Scope says where Attribute is found.
	Scope Scope
	// Unit of the number; empty for names and plain counts.
	Unit string
	// Source on the host: the kernel file or call it comes from.
	Source string
	// Null says when the value is not known; empty means never. The column is
	// Nullable exactly where it is not empty and the field is no list: a list that
	// is not known is empty.
	Null string

	at func(Event) any
}

// Value returns a pointer to the field within e, which must be of the field's
// kind: *string, *bool, *uint16, *uint32, *uint64, *netip.Addr, *time.Time,
// *uuid.UUID, *Optional[bool], *Optional[uint32], *Optional[uint64], *Optional[time.Duration],
// *time.Duration, *[]string, *[]uint32, *map[string]uint64 or *map[string]string.
func (f *Field) Value(e Event) any { return f.at(e) }

// IsList reports whether the field of the kind holds a list.
func (f *Field) IsList(kind Kind) bool {
	switch f.Value(New(kind)).(type) {
	case *[]string, *[]uint32:
		return true
	}
	return false
}

// of lets a kind's table name a member of its own struct.
func of[T any](member func(*T) any) func(Event) any {
	return func(e Event) any { return member(any(e).(*T)) }
}

func env(member func(*Envelope) any) func(Event) any {
	return func(e Event) any { return member(e.Env()) }
}

// Attributes that the semantic conventions do not have.
const (
	AttrSensorID         = "netview.sensor.id"
	AttrSequence         = "netview.sequence"
	AttrHeartbeat        = "netview.heartbeat.number"
	AttrNetns            = "netview.netns"
	AttrInode            = "netview.socket.inode"
	AttrDirection        = "netview.direction"
	AttrDirectionSource  = "netview.direction.source"
	AttrDuration         = "netview.duration"
	AttrDurationSource   = "netview.duration.source"
	AttrPeerName         = "netview.peer.name"
	AttrEphemeral        = "netview.listener.ephemeral"
	AttrBacklog          = "netview.listener.backlog"
	AttrMode             = "netview.sensor.mode"
	AttrInterval         = "netview.heartbeat.interval"
	AttrCollectDuration  = "netview.heartbeat.collect_duration"
	AttrUptime           = "netview.sensor.uptime"
	AttrCountConnections = "netview.heartbeat.connections"
	AttrCountTCP         = "netview.heartbeat.tcp_listeners"
	AttrCountUDP         = "netview.heartbeat.udp_listeners"
	AttrCountTimeWait    = "netview.heartbeat.time_wait"
	AttrCountNetns       = "netview.heartbeat.namespaces"
	AttrCountFlows       = "netview.heartbeat.flows"
	AttrLosses           = "netview.losses"
	AttrFeatures         = "netview.features"
	AttrConnectionID     = "netview.connection.id"
	AttrRTT              = "netview.tcp.rtt"
	AttrRetransmits      = "netview.tcp.retransmits"
	AttrResult           = "netview.connect.result"
	AttrFlowState        = "netview.flow.state"
	AttrBytesSent        = "netview.flow.bytes_sent"
	AttrBytesReceived    = "netview.flow.bytes_received"
	AttrFinalState       = "netview.flow.final_state"
	AttrFinalDetail      = "netview.flow.final_state.detail"
	AttrDNSType          = "netview.dns.question.type"
	AttrDNSClass         = "netview.dns.question.class"
	AttrDNSID            = "netview.dns.id"
	AttrDNSServers       = "netview.dns.servers"
	AttrDNSAttempts      = "netview.dns.attempts"
	AttrDNSResult        = "netview.dns.result"
	AttrDNSRCode         = "netview.dns.rcode"
	AttrDNSLatency       = "netview.dns.latency"
	AttrDNSAnswerTypes   = "netview.dns.answer.types"
	AttrDNSAnswerTTLs    = "netview.dns.answer.ttls"
	AttrDNSAnswerCount   = "netview.dns.answer.count"
	AttrDNSTruncated     = "netview.dns.truncated"
	AttrLookupService    = "netview.dns.lookup.service"
	AttrLookupResult     = "netview.dns.lookup.result"
	AttrLookupErrno      = "netview.dns.lookup.errno"
	AttrLookupLatency    = "netview.dns.lookup.latency"
	AttrLookupLibrary    = "netview.dns.lookup.library"
	AttrNameSource       = "netview.peer.name.source"
	AttrNameSameProcess  = "netview.peer.name.same_process"
	AttrNameAge          = "netview.peer.name.age"
	AttrNameTTL          = "netview.peer.name.ttl"
	AttrNameOthers       = "netview.peer.name.others"
	AttrGapSession       = "netview.gap.session"
	AttrGapFirst         = "netview.gap.first"
	AttrGapLast          = "netview.gap.last"
	AttrGapCause         = "netview.gap.cause"
	AttrGapRecords       = "netview.gap.records"
	AttrGapKinds         = "netview.gap.kinds"
)

// commonFields are those of the [Envelope], the same for every kind.
var commonFields = []Field{
	{Column: "sensor_id", Attribute: AttrSensorID, Scope: ScopeResource, Source: "flag, or the host name",
		at: env(func(e *Envelope) any { return &e.SensorID })},
	{Column: "session", Attribute: string(semconv.ServiceInstanceIDKey), Scope: ScopeResource, Source: "made at start",
		at: env(func(e *Envelope) any { return &e.Session })},
	{Column: "sequence", Attribute: AttrSequence, Scope: ScopeRecord, Source: "given when the record is appended for sending",
		at: env(func(e *Envelope) any { return &e.Sequence })},
	{Column: "timestamp", Attribute: "Timestamp", Scope: ScopeNative, Unit: "µs", Source: "wall clock",
		at: env(func(e *Envelope) any { return &e.Timestamp })},
	{Column: "host_name", Attribute: string(semconv.HostNameKey), Scope: ScopeResource, Source: "uname",
		Null: "the host has no name", at: env(func(e *Envelope) any { return &e.HostName })},
	{Column: "host_id", Attribute: string(semconv.HostIDKey), Scope: ScopeResource, Source: "/etc/machine-id",
		Null: "the host has no machine id", at: env(func(e *Envelope) any { return &e.HostID })},
	{Column: "host_arch", Attribute: string(semconv.HostArchKey), Scope: ScopeResource, Source: "build",
		Null: "not sent", at: env(func(e *Envelope) any { return &e.Arch })},
	{Column: "os_version", Attribute: string(semconv.OSVersionKey), Scope: ScopeResource, Source: "uname (kernel release)",
		Null: "not sent", at: env(func(e *Envelope) any { return &e.KernelRelease })},
	{Column: "sensor_version", Attribute: string(semconv.ServiceVersionKey), Scope: ScopeResource, Source: "build",
		Null: "not sent", at: env(func(e *Envelope) any { return &e.Version })},
}

// processFields are the columns of a [Process] inside a kind's struct.
func processFields(process func(Event) *Process) []Field {
	member := func(get func(*Process) any) func(Event) any {
		return func(e Event) any { return get(process(e)) }
	}
	const noOwner = "a kernel socket, or its process ended or could not be read"
	return []Field{
		{Column: "pid", Attribute: string(semconv.ProcessPIDKey), Scope: ScopeRecord, Source: "/proc/PID/fd", Null: noOwner,
			at: member(func(p *Process) any { return &p.PID })},
		{Column: "binary", Attribute: string(semconv.ProcessExecutablePathKey), Scope: ScopeRecord, Source: "/proc/PID/exe", Null: noOwner,
			at: member(func(p *Process) any { return &p.Binary })},
		{Column: "process_name", Attribute: string(semconv.ProcessExecutableNameKey), Scope: ScopeRecord, Source: "/proc/PID/comm", Null: noOwner,
			at: member(func(p *Process) any { return &p.Name })},
		{Column: "user", Attribute: string(semconv.ProcessUserNameKey), Scope: ScopeRecord, Source: "the socket's uid, in the host's passwd", Null: "not known",
			at: member(func(p *Process) any { return &p.User })},
		{Column: "container_id", Attribute: string(semconv.ContainerIDKey), Scope: ScopeRecord, Source: "/proc/PID/cgroup", Null: "not in a container, or no process",
			at: member(func(p *Process) any { return &p.ContainerID })},
		{Column: "command_line", Attribute: string(semconv.ProcessCommandLineKey), Scope: ScopeRecord, Source: "/proc/PID/cmdline", Null: "not asked for, or no process",
			at: member(func(p *Process) any { return &p.CommandLine })},
	}
}

// TypeName is the OTLP type of a field whose [Field.Value] is v, in the words
// of docs/data-model.md.
func TypeName(v any) string {
	switch v.(type) {
	case *string, *netip.Addr, *uuid.UUID:
		return "string"
	case *bool, *Optional[bool]:
		return "bool"
	case *uint16, *uint32, *uint64, *Optional[uint32], *Optional[uint64]:
		return "int"
	case *time.Duration, *Optional[time.Duration]:
		return "double"
	case *time.Time:
		return "time"
	case *[]string:
		return "string[]"
	case *[]uint32:
		return "int[]"
	default:
		return "map"
	}
}
