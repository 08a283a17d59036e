package event

import (
	"time"

	dto "github.com/prometheus/client_model/go"
)

// State is what a sensor shows of itself at one moment.
type State struct {
	// Now is the sensor's wall clock.
	Now time.Time
	// Snapshot is the newest; nil before the first.
	Snapshot *Summary
	// Collections are what the last heartbeat, failed or not, tried to read.
	Collections []Collection
	// Churn counts the listeners that came and went.
	Churn Churn
	// Limits are how near the host's sockets are to what stops them; nil before the
	// first heartbeat.
	Limits *Limits
	// Failures counts the heartbeats at which nothing could be read.
	Failures uint64
	// Kernel is what eBPF told; nil where there is none.
	Kernel *Kernel
	// Losses counts by cause.
	Losses map[string]uint64
	// Delivery is nil where nothing is sent.
	Delivery *Delivery
}

// Kernel counts what eBPF told since the sensor's start.
type Kernel struct {
	// Events made, by kind.
	Events map[Kind]uint64
	// BytesSent, BytesReceived and Retransmits are those of all flows.
	BytesSent, BytesReceived, Retransmits uint64
	// Audit counts what flows and socket tables said differently, by
	// FlowDifferences.
	Audit map[string]uint64
	// Connects counts attempts to connect, and Ended the flows that ended, by how.
	Connects map[ConnectLabels]uint64
	Ended    map[EndLabels]uint64
	// DNS counts queries and lookups; nil where they are not told.
	DNS *DNS
}

// ConnectLabels are labels of an attempt to connect, in the words of
// [NetworkConnect]. What is rare is "other", so that their number is bounded.
type ConnectLabels struct{ Transport, Result string }

// EndLabels are labels of a flow's end, in the words of [NetworkFlow]; bounded as
// [ConnectLabels].
type EndLabels struct{ FinalState, FinalDetail string }

// Limits are how near the host's sockets are to what stops them.
type Limits struct {
	// EphemeralPorts is the largest part (0 to 1) of a namespace's ephemeral ports
	// that TCP sockets, those in TIME_WAIT among them, take from one local address
	// to one destination: it needs a port of its own for each.
	EphemeralPorts float64
	// ListenOverflows and ListenDrops count connections that a listener did not get
	// since the sensor met its namespace: for want of room in its queue, and for
	// any reason.
	ListenOverflows, ListenDrops uint64
	// Conntrack is what the sensor's own namespace tracks, ConntrackLimit the most
	// that it can; 0 where nothing is tracked.
	Conntrack, ConntrackLimit uint64
}

// DNS counts what eBPF told of DNS since the sensor's start.
type DNS struct {
	Queries map[DNSLabels]uint64
	// Lookups by their result.
	Lookups map[string]uint64
	// Libraries are the libcs that processes have in memory, by what became of them:
	// [LibraryAttached], or why nothing is told of one. Nil where lookups are off.
	Libraries map[string]int
	// Latency of the answers (s), with native and classic buckets.
	Latency *dto.Histogram
}

// LibraryAttached says that lookups in a libc are told.
const LibraryAttached = "attached"

// DNSLabels are labels of a query, in the words of [DNSQuery]. What is rare is
// "other", so that their number is bounded.
type DNSLabels struct{ Protocol, Transport, Type, Result, RCode string }

// FlowDifferences names the keys of [Kernel].Audit, and explains them.
var FlowDifferences = []struct{ Name, Explained string }{
	{"adopted", "sockets without a flow: their beginning was missed"},
	{"missed_close", "flows without a socket: their end was missed"},
	{"evicted", "flows that had to make room for others"},
	{"untracked", "sockets for whose flow there was no room, once at each heartbeat"},
}

// Delivery is how far records have come on their way to the collector.
type Delivery struct {
	// Acknowledged is when the newest acknowledged heartbeat was taken; zero if none was.
	Acknowledged time.Time
	// Delivered counts acknowledged records by kind.
	Delivered map[Kind]uint64
	// Failed counts attempts to send that are repeated, by their cause: unreachable,
	// overloaded, denied, other.
	Failed map[string]uint64
	// Lost counts lost records by cause and kind. The kind is empty where it is
	// not known.
	Lost map[string]map[Kind]uint64
	// Waiting snapshots, the one being sent among them.
	Waiting int
	// Events and Snapshots are the lanes of the spool.
	Events, Snapshots Lane
	// Disk is why nothing is kept on disk; nil where it is.
	Disk error
	// Damaged counts segments and snapshots on disk that could not be read to
	// their end.
	Damaged uint64
}

// Lane is what waits in a lane of the spool.
type Lane struct {
	// Records that are not acknowledged, those being sent among them.
	Records uint64
	// Bytes that the lane takes, on disk and in memory.
	Bytes int64
	// Limit is what they may be: beyond it the oldest records go.
	Limit int64
	// Oldest is when the oldest of its records was appended; zero where there is none.
	Oldest time.Time
}

// Losses counts lost records by cause.
func (d *Delivery) Losses() map[string]uint64 {
	losses := map[string]uint64{}
	for cause, kinds := range d.Lost {
		losses[cause] = 0
		for _, n := range kinds {
			losses[cause] += n
		}
	}
	return losses
}
