// Package event is the contract between a netview sensor and everything that
// reads what it sends: every kind of record as a typed struct, and the one
// mapping of these structs to and from OTLP log records.
//
// A kind is described once, in its own file, as a table of [Field]s. Encoding,
// decoding, the ClickHouse columns and docs/data-model.md all follow from that
// table, so that adding a field or a kind is one edit beside its struct.
//
// The package does no I/O and imports nothing of netview's.
package event

import "strings"

// ScopeName is the instrumentation scope of every record a sensor sends.
const ScopeName = "github.com/netview-project/netview/sensor"

// ServiceName is the service.name of every sensor.
const ServiceName = "netview-sensor"

// Kind names what a record is about. It is the value of the column `kind`.
type Kind string

// The kinds this version knows.
const (
	KindConnection     Kind = "connection"
	KindListener       Kind = "listener"
	KindFlow           Kind = "flow"
	KindHeartbeat      Kind = "heartbeat"
	KindNetworkConnect Kind = "network_connect"
	KindNetworkAccept  Kind = "network_accept"
	KindNetworkListen  Kind = "network_listen"
	KindNetworkFlow    Kind = "network_flow"
	KindLSMNetConnect  Kind = "lsm_net_connect"
	KindDNSQuery       Kind = "dns_query"
	KindDNSLookup      Kind = "dns_lookup"
	KindDNSResolution  Kind = "dns_resolution"
	KindGap            Kind = "gap"
)

// namePrefix makes the kind a namespaced OpenTelemetry event name, so that it
// cannot be mistaken for an event of another producer.
const namePrefix = "netview."

// EventName is the LogRecord.EventName of the kind, such as "netview.connection".
func (k Kind) EventName() string { return namePrefix + string(k) }

// KindOf returns the kind that an event name stands for, and whether the name
// is in netview's namespace at all. The kind may be one that this version does
// not know.
func KindOf(eventName string) (kind Kind, ours bool) {
	name, ours := strings.CutPrefix(eventName, namePrefix)
	return Kind(name), ours
}
