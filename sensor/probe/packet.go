package probe

import (
	"bytes"
	"unsafe"

	"github.com/netview-project/netview/sensor/bpf"
)

// Packet is a DNS query that a socket sent, or an answer that it received: of UDP a
// datagram, of TCP a part of a stream. sensor/bpf/wire.h explains its fields.
type Packet struct {
	*bpf.DNSNvPacket
	// Payload of it, as far as it was kept: the first 64 KiB. Length is that on the
	// wire.
	Payload []byte
}

// Comm is the name of the process that sent a datagram, where Tgid is known.
func (p Packet) Comm() []byte { return comm(&p.DNSNvPacket.Comm) }

// comm is the name in a field of that size.
func comm(field *[16]int8) []byte {
	name, _, _ := bytes.Cut(unsafe.Slice((*byte)(unsafe.Pointer(field)), len(field)), []byte{0})
	return name
}

// rooms for payload, of which a record has the first that is large enough.
var rooms = [...]bpf.DNSNvRoom{bpf.DNSNvRoomNV_ROOM_QUERY, bpf.DNSNvRoomNV_ROOM_ANSWER, bpf.DNSNvRoomNV_ROOM_LONG, bpf.DNSNvRoomNV_ROOM_LONGEST}

// packetHeader is what comes before the payload.
const packetHeader = int(unsafe.Sizeof(bpf.DNSNvPacket{}))

// decodePacket looks at a record in place, as [decode].
func decodePacket(sample []byte) (p Packet, ok bool) {
	if len(sample) < packetHeader {
		return p, false
	}
	p.DNSNvPacket = (*bpf.DNSNvPacket)(unsafe.Pointer(unsafe.SliceData(sample)))
	for _, room := range rooms {
		if p.Kept <= uint32(room) {
			if len(sample)-packetHeader != int(room) || p.Kept > p.Length {
				return p, false
			}
			p.Payload = sample[packetHeader : packetHeader+int(p.Kept)]
			return p, true
		}
	}
	return p, false
}
