package probe

import (
	"encoding/binary"

	"github.com/cilium/ebpf"

	"github.com/netview-project/netview/sensor/bpf"
)

// Causes of loss on the way from the kernel, as in metrics and heartbeat.
const (
	// CauseRing: the ring buffer was full, or at the start what is kept of it.
	CauseRing = "bpf_ring_full"
	// CauseOwners: the map of owners was full; the connection's end has no process.
	CauseOwners = "bpf_owners_full"
	// CausePacket: the headers or the payload of a packet could not be read, or it was
	// several datagrams in one.
	CausePacket = "bpf_packet_unread"
	// CauseLookup: a string or an address of a lookup was not in memory.
	CauseLookup = "bpf_lookup_unread"
	// CauseDecode: a record has not the form of this version's.
	CauseDecode = "bpf_decode"
	// CauseMissed: a program was not run, since it ran already on the same CPU.
	CauseMissed = "bpf_missed"
)

// counted by the programs alone.
var counted = map[bpf.StateNvLoss]string{bpf.StateNvLossNV_LOST_OWNERS_FULL: CauseOwners, bpf.StateNvLossNV_LOST_PACKET_UNREAD: CausePacket,
	bpf.StateNvLossNV_LOST_LOOKUP_UNREAD: CauseLookup}

// Causes lists every cause, for metrics that start at zero.
func Causes() []string {
	return []string{CauseRing, CauseOwners, CausePacket, CauseLookup, CauseMissed, CauseDecode}
}

// lossesOf is the memory of the map of losses, which needs no right to be read.
func lossesOf(m *ebpf.Map) (*ebpf.Memory, error) { return m.Memory() }

// Lost counts losses since the programs were loaded, by cause.
func (p *Probe) Lost() map[string]uint64 {
	lost := map[string]uint64{}
	for _, cause := range Causes() {
		lost[cause] = 0
	}
	if !p.Tells() {
		return lost
	}
	lost[CauseDecode] = p.garbled.Load()
	for index, cause := range counted {
		lost[cause] = p.loss(index)
	}
	lost[CauseRing] = p.Dropped()
	lost[CauseMissed] = p.missed()
	return lost
}

// Dropped counts the records, of whatever type, that found no room in the ring
// buffer. To ask costs no system call.
func (p *Probe) Dropped() uint64 {
	if !p.Tells() {
		return 0
	}
	return p.loss(bpf.StateNvLossNV_LOST_RING_FULL) + p.crowdedOut
}

// loss that the programs count.
func (p *Probe) loss(index bpf.StateNvLoss) uint64 {
	var n [8]byte
	if _, err := p.losses.ReadAt(n[:], int64(index)*8); err != nil {
		return 0 // it has all indexes
	}
	return binary.NativeEndian.Uint64(n[:])
}

// missed asks the kernel, which counts since 5.12. A sensor that has dropped its
// rights may not ask kernels before 5.19: what was heard last then stays.
func (p *Probe) missed() uint64 {
	var n uint64
	for _, program := range p.programs {
		stats, err := program.Stats()
		if err != nil {
			return p.missedBefore.Load()
		}
		n += stats.RecursionMisses
	}
	p.missedBefore.Store(n)
	return n
}
