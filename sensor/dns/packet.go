package dns

import (
	"net/netip"
	"time"

	"github.com/netview-project/netview/event"
)

// The ports of DNS servers.
const (
	portDNS  = 53
	portMDNS = 5353
	portDoT  = 853
)

// Packet is what went between a process and a DNS server, told once: by the
// socket of the process that asks.
type Packet struct {
	At     time.Duration // boot clock
	Socket uint64        // cookie
	Netns  uint64        // inode
	// Sent by the socket; else received by it.
	Sent      bool
	Transport string // event.TransportUDP or TransportTCP
	// Local and Remote as the socket has them, where it is connected: what a
	// translation of addresses makes of them differs between the two directions.
	Local, Remote netip.AddrPort
	// Sequence number of the first byte of Data in TCP; in UDP the offset of Data in
	// the datagram.
	Sequence uint32
	// Process that sent it; nil where it is not known. It must not change afterwards.
	Process *event.Process
	// Data is the payload. It is valid for the time of the call.
	Data []byte
	// Length of the payload from Data on: more than Data has where it was cut.
	Length int
}
