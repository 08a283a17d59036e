package event

import "time"

// Modes of a sensor.
const (
	// ModeCompatibility: socket tables alone, no events.
	ModeCompatibility = "compatibility"
	// ModeEBPF: events from the kernel beside the socket tables.
	ModeEBPF = "ebpf"
)

// States of a feature in [Heartbeat].Features.
const (
	// FeatureOn: the feature works. Where it rests on a hook of the kernel, ": " and
	// the hook follow.
	FeatureOn = "on"
	// FeatureOff begins the reason why it does not, and what may help.
	FeatureOff = "off: "
)

// Heartbeat closes a snapshot. The sensor sends it only after every row of the
// snapshot was acknowledged, so a stored heartbeat means a complete snapshot;
// its counts let anyone verify that.
type Heartbeat struct {
	Envelope
	Heartbeat uint64
	// Rows of the snapshot by table.
	Connections, TCPListeners, UDPListeners uint64
	// Flows is the number of rows of flows; not known where there is no eBPF.
	Flows Optional[uint64]
	// TimeWait counts TCP sockets in TIME_WAIT, which have no rows.
	TimeWait uint64
	// Namespaces that were read.
	Namespaces uint64
	Mode       string
	// Interval is the time between two heartbeats of this sensor.
	Interval time.Duration
	// CollectDuration is how long taking the snapshot took.
	CollectDuration time.Duration
	// Uptime of the sensor's session, on the boot clock.
	Uptime time.Duration
	// Losses counts what was lost since the session began, by cause.
	Losses map[string]uint64
	// Features maps each feature to what begins with [FeatureOn] or [FeatureOff].
	Features map[string]string
}

// Kind is [KindHeartbeat].
func (*Heartbeat) Kind() Kind { return KindHeartbeat }

var heartbeatFields = []Field{
	numbered(of(func(h *Heartbeat) any { return &h.Heartbeat })),
	{Column: "connections", Attribute: AttrCountConnections, Scope: ScopeRecord, Source: "rows of the snapshot",
		at: of(func(h *Heartbeat) any { return &h.Connections })},
	{Column: "tcp_listeners", Attribute: AttrCountTCP, Scope: ScopeRecord, Source: "rows of the snapshot",
		at: of(func(h *Heartbeat) any { return &h.TCPListeners })},
	{Column: "udp_listeners", Attribute: AttrCountUDP, Scope: ScopeRecord, Source: "rows of the snapshot",
		at: of(func(h *Heartbeat) any { return &h.UDPListeners })},
	{Column: "flows", Attribute: AttrCountFlows, Scope: ScopeRecord, Source: "rows of the snapshot", Null: "there is no eBPF",
		at: of(func(h *Heartbeat) any { return &h.Flows })},
	{Column: "time_wait", Attribute: AttrCountTimeWait, Scope: ScopeRecord, Source: tcpTables,
		at: of(func(h *Heartbeat) any { return &h.TimeWait })},
	{Column: "namespaces", Attribute: AttrCountNetns, Scope: ScopeRecord, Source: "/proc/PID/task/TID/ns/net, /proc/PID/mountinfo",
		at: of(func(h *Heartbeat) any { return &h.Namespaces })},
	{Column: "mode", Attribute: AttrMode, Scope: ScopeRecord, Source: "the sensor's features",
		at: of(func(h *Heartbeat) any { return &h.Mode })},
	{Column: "interval_secs", Attribute: AttrInterval, Scope: ScopeRecord, Unit: "s", Source: "flag",
		at: of(func(h *Heartbeat) any { return &h.Interval })},
	{Column: "collect_secs", Attribute: AttrCollectDuration, Scope: ScopeRecord, Unit: "s", Source: "monotonic clock",
		at: of(func(h *Heartbeat) any { return &h.CollectDuration })},
	{Column: "uptime_secs", Attribute: AttrUptime, Scope: ScopeRecord, Unit: "s", Source: "boot clock",
		at: of(func(h *Heartbeat) any { return &h.Uptime })},
	{Column: "losses", Attribute: AttrLosses, Scope: ScopeRecord, Source: "the sensor's counters",
		at: of(func(h *Heartbeat) any { return &h.Losses })},
	{Column: "features", Attribute: AttrFeatures, Scope: ScopeRecord, Source: "the sensor's features",
		at: of(func(h *Heartbeat) any { return &h.Features })},
}
