// Package socket reads the TCP and UDP sockets of every network namespace of a
// host.
package socket

import "net/netip"

// Protocol of a socket.
type Protocol uint8

// The protocols that are read.
const (
	TCP Protocol = iota
	UDP
)

// String is the value of OpenTelemetry's network.transport.
func (p Protocol) String() string {
	if p == UDP {
		return "udp"
	}
	return "tcp"
}

// Row is one socket of one namespace.
type Row struct {
	Protocol Protocol
	State    State
	// V4Mapped says that the socket is an IPv6 one that talks IPv4. Its
	// addresses are given as IPv4, and so is its [Row.Family].
	V4Mapped bool
	// Ephemeral says that the local port lies in the range from which the
	// kernel gives out ports by itself. It is set on UDP listeners only.
	Ephemeral bool
	// Local and Remote, IPv4-mapped addresses as IPv4.
	Local, Remote netip.AddrPort
	// Inode of the socket's file, 0 where there is none: kernel sockets,
	// TIME_WAIT, connections not accepted yet, and sockets their process has
	// closed.
	Inode uint64
	// UID of the socket's owner, in the reader's user namespace.
	UID uint32
	// TxQueue and RxQueue are the bytes that wait to be sent or acknowledged, and
	// to be read. On a TCP listener RxQueue counts connections that wait for accept.
	TxQueue, RxQueue uint32
	// Netns is the inode of the network namespace.
	Netns uint64
	// Cookie is the socket's own number (SO_COOKIE), unique until the host
	// restarts; 0 in rows from /proc, which do not tell it.
	Cookie uint64
	// Info is of TCP from sock_diag alone; all zero in other rows.
	Info Info
}

// Info is what the kernel tells of how a TCP connection goes: a part of struct
// tcp_info (include/uapi/linux/tcp.h).
type Info struct {
	// RTT is the smoothed round-trip time in µs, 0 before it was measured.
	RTT uint32
	// Retransmits counts segments that were sent again.
	Retransmits uint32
	// Unacked counts segments that were sent and not acknowledged.
	Unacked uint32
	// BytesAcked counts the SYN and FIN of this side, as far as they are
	// acknowledged, and BytesReceived the FIN of the other, as bytes.
	BytesAcked, BytesReceived uint64
	// BytesSent and BytesRetransmitted count payload alone.
	BytesSent, BytesRetransmitted uint64
}

// IsConnection reports whether the row is a connection: TCP in any state but
// LISTEN, TIME_WAIT and CLOSE.
func (r *Row) IsConnection() bool {
	return r.Protocol == TCP && r.State != Listen && r.State != TimeWait && r.State != Close
}

// IsTCPListener reports whether the row is a TCP socket in LISTEN state.
func (r *Row) IsTCPListener() bool { return r.Protocol == TCP && r.State == Listen }

// IsUDPListener reports whether the row is a UDP socket that is bound and not
// connected. Sockets of the kernel, such as those of GTP-U and VXLAN, are
// listeners like any other.
func (r *Row) IsUDPListener() bool {
	return r.Protocol == UDP && r.Local.Port() != 0 && r.Remote.Port() == 0 && r.Remote.Addr().IsUnspecified()
}

// Family is ipv4 or ipv6 by the addresses, which is the value of
// OpenTelemetry's network.type.
func (r *Row) Family() string {
	if r.Local.Addr().Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// setEnds takes the ends as the kernel tells them.
func (r *Row) setEnds(local, remote netip.AddrPort) (fault Cause) {
	r.V4Mapped = local.Addr().Is4In6() || remote.Addr().Is4In6()
	r.Local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	r.Remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if r.Local.Addr().Is4() != r.Remote.Addr().Is4() {
		// A socket bound to ::ffff:1.2.3.4 and not connected: its peer is ::,
		// which is 0.0.0.0 in the family of the socket's other end.
		r.Local, r.Remote, fault = sameFamily(r.Local, r.Remote)
	}
	return fault
}

// sameFamily gives an unspecified IPv6 end the family of the other end. Two
// ends that are both addresses, of different families, cannot be one socket's.
func sameFamily(local, remote netip.AddrPort) (netip.AddrPort, netip.AddrPort, Cause) {
	unspecified := netip.IPv4Unspecified()
	switch {
	case remote.Addr() == netip.IPv6Unspecified():
		return local, netip.AddrPortFrom(unspecified, remote.Port()), ""
	case local.Addr() == netip.IPv6Unspecified():
		return netip.AddrPortFrom(unspecified, local.Port()), remote, ""
	}
	return local, remote, CauseRowAddress
}

// setState takes the state by its number in the kernel.
func (r *Row) setState(number uint64) (fault Cause) {
	if number == 0 || number > highestState {
		return CauseRowRange
	}
	r.State = State(number)
	return ""
}
