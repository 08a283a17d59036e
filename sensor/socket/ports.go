package socket

import (
	"bytes"
	"fmt"
	"math"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// Has reports whether a port lies in the range.
func (p PortRange) Has(port uint16) bool { return p.First <= port && port <= p.Last }

// kernelRange is what the kernel starts a namespace with (net/ipv4/af_inet.c
// inet_init_net).
var kernelRange = PortRange{32768, 60999}

// portRange reads the range of the namespace that the calling thread lives in:
// below /proc/sys/net each task sees its own.
func portRange(buffers *procdir.Buffers, proc procdir.Dir) (PortRange, error) {
	text, err := buffers.ReadFile(proc, "sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return PortRange{}, fmt.Errorf("reading sys/net/ipv4/ip_local_port_range: %w", err)
	}
	ports, ok := parseRange(text)
	if !ok {
		return PortRange{}, fmt.Errorf("sys/net/ipv4/ip_local_port_range: %.40q is not a range of ports", text)
	}
	return ports, nil
}

// parseRange reads the two ports of a range, of which the second is not the lower.
func parseRange(text []byte) (ports PortRange, ok bool) {
	fields := bytes.Fields(text)
	if len(fields) != 2 {
		return ports, false
	}
	first, fault1 := decimal(fields[0], math.MaxUint16)
	last, fault2 := decimal(fields[1], math.MaxUint16)
	return PortRange{uint16(first), uint16(last)}, fault1 == "" && fault2 == "" && first <= last
}
