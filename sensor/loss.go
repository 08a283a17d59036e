package sensor

import (
	"cmp"

	"github.com/netview-project/netview/sensor/deliver"
	"github.com/netview-project/netview/sensor/dns"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/process"
	"github.com/netview-project/netview/sensor/rights"
	"github.com/netview-project/netview/sensor/socket"
)

// LossCause explains one value of the label cause, which is also a key of the
// heartbeat's losses.
type LossCause struct {
	Name, Lost, Remedy string
}

// remedy for this sensor: where rights help against a cause, those that it lacks.
func (c *LossCause) remedy() string {
	var features []string
	switch c.Name {
	case string(socket.CauseNamespaceDenied):
		features = []string{rights.OtherProcesses, rights.MountedNamespaces}
	case process.CauseDenied:
		features = []string{rights.OtherProcesses}
	default:
		return c.Remedy
	}
	return cmp.Or(rights.Remedy(features...), "none: the sensor has the capabilities, and what is closed to it all the same belongs to a process that the kernel shields")
}

// LossCauses explains every cause, in the order of the data's way.
func LossCauses() []LossCause {
	const row, reportIt, seeLog = "one row of a socket table: ", "report it, with the row from the sensor's log", "see the sensor's log"
	return []LossCause{
		{string(socket.CauseRowShort), row + "it ends early or has a hole", reportIt},
		{string(socket.CauseRowLong), row + "it is longer than any that the kernel prints", reportIt},
		{string(socket.CauseRowAddress), row + "an address has the wrong length, or its ends are of two families", reportIt},
		{string(socket.CauseRowNumber), row + "something else stands where a number belongs", reportIt},
		{string(socket.CauseRowRange), row + "a number is beyond its range", reportIt},
		{string(socket.CauseTableUnreadable), "a socket table of one namespace, or its end", seeLog},
		{string(socket.CauseNamespaceGone), "nothing: the namespace ended, with its sockets, before it was read", ""},
		{string(socket.CauseNamespaceDenied), "the sockets of a namespace, or of what a process lives in; once at each heartbeat", "give the sensor CAP_SYS_PTRACE and CAP_SYS_ADMIN (docs/rights.md); a process that the kernel shields stays closed to it"},
		{string(socket.CauseNamespaceStuck), "the sockets of a namespace whose mount does not answer", "look at the mount"},
		{process.CauseDenied, "the sockets' owner where the process may not be read; once at each heartbeat", "give the sensor CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (docs/rights.md)"},
		{process.CauseGone, "the owner, where the process ended while it was read", ""},
		{process.CauseUnreadable, "the owner, where the process could not be read for another reason", seeLog},
		{probe.CauseRing, "events, for which the ring buffer between kernel and sensor had no room", "give the sensor more CPU"},
		{probe.CauseOwners, "the owner and the beginning of connections, for which the kernel's map had no room", "report it, with the number of connections"},
		{probe.CausePacket, "packets, some of them of DNS, whose headers or payload could not be read, or several datagrams that were one packet", "report it, with the programs that send them"},
		{probe.CauseLookup, "the name, the service or the addresses of lookups, where they were not in memory", ""},
		{probe.CauseMissed, "events of moments at which the same program already ran on the CPU", "report it"},
		{probe.CauseDecode, "events whose form is not that of this version", "report it"},
		{dns.CauseMalformed, "a DNS message, or those of its answers that could not be read", "see who sends it: another protocol on port 53, or hostile"},
		{dns.CauseCut, "answers at the end of a datagram of DNS, which is longer than what is taken of it", ""},
		{dns.CauseQueryEvicted, "the answer of a DNS query, told as unfinished, since too many waited for theirs", "see who asks so much without an answer"},
		{dns.CauseQueryUnfinished, "the answer of a DNS query, told as unfinished, since the sensor ended", ""},
		{dns.CauseStreamGap, "DNS messages over TCP, of which bytes did not come", "look at bpf_ring_full"},
		{dns.CauseStreamMalformed, "DNS messages over TCP, from bytes that are none up to the next that is one: a connection met in the middle, or another protocol on port 53", ""},
		{dns.CauseStreamEvicted, "DNS messages over TCP, whose beginning was forgotten, since too much waited for the rest", "see who sends messages that never end"},
		{deliver.CauseSuperseded, "the records of a snapshot that newer ones took the place of, while the collector was away", "mend the collector"},
		{deliver.CauseRefused, "records that the collector refused for good", "see the sensor's log, and the directory refused in its spool"},
		{deliver.CauseFull, "the oldest events, for which the spool had no room", "mend the collector; a larger --spool.events-size, or more room on the disk"},
		{deliver.CauseExpired, "events that waited too long in the spool", "mend the collector; a longer --spool.events-age"},
		{deliver.CauseMemory, "the oldest events in memory, while the spool's disk took nothing", "mend the disk, then the collector"},
		{deliver.CauseCorrupt, "what the spool cannot read any more", "look at the disk"},
		{deliver.CauseUncleanEnd, "nothing that is counted: a sensor that ended without notice may have had records in memory, while its disk took nothing", "see why it ended"},
	}
}
