package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// sock_diag(7) tells of the same TCP sockets as /proc/net/tcp and tcp6, for a
// small part of the time: one walk of the kernel's hash table in place of two,
// and no text. The general netlink packages allocate for each message, or know
// only one address family at a time; this is the hot path of a heartbeat.

// tcpDiagGetSock asks for the sockets of both families at once (TCPDIAG_GETSOCK
// of linux/inet_diag.h). The newer SOCK_DIAG_BY_FAMILY takes a walk for each.
const tcpDiagGetSock = 18

// diagRequest is struct nlmsghdr and struct inet_diag_req.
var diagRequest = func() []byte {
	request := struct {
		Header unix.NlMsghdr
		// Family AF_UNSPEC is all families; no lengths and no port, all ends.
		Family, SourceLength, DestinationLength, Extensions uint8
		ID                                                  [48]byte
		States, DBs                                         uint32
	}{
		Header:     unix.NlMsghdr{Type: tcpDiagGetSock, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP},
		Extensions: 1 << (diagInfo - 1),
		States:     1<<(Closing+1) - 1,
	}
	request.Header.Len = uint32(binary.Size(request))
	bytes, err := binary.Append(nil, binary.NativeEndian, request)
	if err != nil {
		panic(err) // its types have a fixed size
	}
	return bytes
}()

// The fields of struct inet_diag_msg.
const (
	diagFamily      = 0
	diagState       = 1
	diagSourcePort  = 4
	diagRemotePort  = 6
	diagSource      = 8
	diagDestination = 24
	diagRxQueue     = 56
	diagTxQueue     = 60
	diagCookie      = 44
	diagUID         = 64
	diagInode       = 68
	diagLength      = 72
)

// diagInfo is the attribute INET_DIAG_INFO of linux/inet_diag.h.
const diagInfo = 2

var (
	errForeignProc = errors.New("this procfs does not show the namespaces of the running kernel")
	errInterrupted = errors.New("the kernel says that its table changed under the reader (NLM_F_DUMP_INTR)")
)

// dump reads the TCP sockets of the namespace below a directory. After an error
// other than [errMoved] its tables in /proc are still to be had; no rows are
// kept then.
func (t *tables) dump(dir procdir.Dir) error {
	// The open file holds the namespace: no task has to stay in it.
	ns, err := t.buffers.OpenFile(dir, "ns/net", 0)
	if err != nil {
		if !t.livesHere(dir) {
			return errMoved
		}
		return fmt.Errorf("%w: %w", errForeignProc, err)
	}
	defer unix.Close(ns)
	is, inode := netnsFile(ns)
	switch {
	case !is:
		return errForeignProc
	case inode != t.inode:
		return errMoved
	}
	fd, err := diagSocketIn(ns)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := dump(fd, t.buffer, t); err != nil {
		t.begin(t.inode)
		return err
	}
	return nil
}

// netnsFile reports whether a descriptor is a namespace, and its inode.
func netnsFile(fd int) (is bool, inode uint64) {
	var kind unix.Statfs_t
	var stat unix.Stat_t
	if unix.Fstatfs(fd, &kind) != nil || kind.Type != unix.NSFS_MAGIC || unix.Fstat(fd, &stat) != nil {
		return false, 0
	}
	return true, stat.Ino
}

// diagSocketIn opens a socket of sock_diag in the namespace of a descriptor. It
// stays there, wherever it is used.
func diagSocketIn(ns int) (fd int, err error) {
	var there, here unix.Stat_t
	if err := unix.Fstat(ns, &there); err != nil {
		return -1, fmt.Errorf("asking for the inode of a network namespace: %w", err)
	}
	if unix.Stat("/proc/thread-self/ns/net", &here) == nil && here.Dev == there.Dev && here.Ino == there.Ino {
		return diagSocket()
	}
	fd = -1
	if err := enter(ns, func() (err error) { fd, err = diagSocket(); return err }); err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return -1, err
	}
	return fd, nil
}

func diagSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return -1, fmt.Errorf("opening a socket of sock_diag (is the kernel's module inet_diag there?): %w", err)
	}
	return fd, nil
}

// dump gives the sink each TCP socket that the kernel tells of. The buffer
// should have 32 KiB: the kernel fills no more at a time.
func dump(fd int, buffer []byte, to sink) error {
	if err := unix.Sendto(fd, diagRequest, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("asking sock_diag for TCP sockets: %w", err)
	}
	for {
		n, _, err := unix.Recvfrom(fd, buffer, unix.MSG_TRUNC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("reading from sock_diag: %w", err)
		case n > len(buffer):
			return fmt.Errorf("reading from sock_diag: %d bytes at once are more than the buffer's %d", n, len(buffer))
		}
		done, err := parseDiag(buffer[:n], to)
		if done || err != nil {
			return err
		}
	}
}

// parseDiag gives the sink the sockets in one answer of sock_diag, and reports
// whether it was the last.
func parseDiag(answer []byte, to sink) (done bool, err error) {
	native := binary.NativeEndian
	for len(answer) > 0 {
		if len(answer) < unix.NLMSG_HDRLEN {
			return false, fmt.Errorf("sock_diag: %d bytes are no message", len(answer))
		}
		length, kind, flags := native.Uint32(answer), native.Uint16(answer[4:]), native.Uint16(answer[6:])
		if length < unix.NLMSG_HDRLEN || uint64(length) > uint64(len(answer)) {
			return false, fmt.Errorf("sock_diag: a message says it has %d bytes, of %d that are there", length, len(answer))
		}
		body := answer[unix.NLMSG_HDRLEN:length]
		if flags&unix.NLM_F_DUMP_INTR != 0 {
			return false, errInterrupted
		}
		switch kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			return true, diagError(kind, body)
		case tcpDiagGetSock:
			if row, cause := parseDiagRow(body); cause != "" {
				to.badRow(cause, body)
			} else {
				to.row(row)
			}
		default:
			return false, fmt.Errorf("sock_diag: there is no message of type %d", kind)
		}
		answer = answer[min(len(answer), int(length+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return false, nil
}

// diagError is what the last message of a dump says: a negated errno, 0 for
// success, which may be left out at NLMSG_DONE.
func diagError(kind uint16, body []byte) error {
	errno := int32(0)
	if len(body) >= 4 {
		errno = int32(binary.NativeEndian.Uint32(body))
	}
	switch {
	case errno == 0 && kind == unix.NLMSG_DONE:
		return nil
	case errno >= 0:
		return errors.New("sock_diag: the kernel refused to tell of TCP sockets without saying why")
	case unix.Errno(-errno) == unix.ENOENT:
		return fmt.Errorf("sock_diag: the kernel's module tcp_diag is missing: %w", unix.ENOENT)
	}
	return fmt.Errorf("sock_diag: %w", unix.Errno(-errno))
}

// parseDiagRow reads a struct inet_diag_msg. The cause is empty when it is a row.
func parseDiagRow(m []byte) (row Row, fault Cause) {
	if len(m) < diagLength {
		return row, CauseRowShort
	}
	native, network := binary.NativeEndian, binary.BigEndian
	var local, remote netip.Addr
	switch m[diagFamily] {
	case unix.AF_INET:
		local, remote = netip.AddrFrom4([4]byte(m[diagSource:])), netip.AddrFrom4([4]byte(m[diagDestination:]))
	case unix.AF_INET6:
		local, remote = netip.AddrFrom16([16]byte(m[diagSource:])), netip.AddrFrom16([16]byte(m[diagDestination:]))
	default:
		return row, CauseRowAddress
	}
	if fault = row.setEnds(netip.AddrPortFrom(local, network.Uint16(m[diagSourcePort:])),
		netip.AddrPortFrom(remote, network.Uint16(m[diagRemotePort:]))); fault != "" {
		return row, fault
	}
	if fault = row.setState(uint64(m[diagState])); fault != "" {
		return row, fault
	}
	row.Protocol, row.UID, row.Inode = TCP, native.Uint32(m[diagUID:]), uint64(native.Uint32(m[diagInode:]))
	row.TxQueue, row.RxQueue = native.Uint32(m[diagTxQueue:]), native.Uint32(m[diagRxQueue:])
	row.Cookie = uint64(native.Uint32(m[diagCookie:])) | uint64(native.Uint32(m[diagCookie+4:]))<<32
	if row.State == Listen {
		row.TxQueue = 0 // here it is the limit of RxQueue
		return row, ""
	}
	row.Info = parseInfo(m[diagLength:])
	return row, ""
}

// parseInfo looks for INET_DIAG_INFO among the attributes of a message. A kernel
// that has fewer of its fields leaves the rest zero.
func parseInfo(attributes []byte) (info Info) {
	native := binary.NativeEndian
	for len(attributes) >= unix.NLA_HDRLEN {
		length := int(native.Uint16(attributes))
		if length < unix.NLA_HDRLEN || length > len(attributes) {
			return info
		}
		if native.Uint16(attributes[2:]) == diagInfo {
			var all [unix.SizeofTCPInfo]byte
			copy(all[:], attributes[unix.NLA_HDRLEN:length])
			tcp := (*unix.TCPInfo)(unsafe.Pointer(&all))
			return Info{RTT: tcp.Rtt, Retransmits: tcp.Total_retrans, Unacked: tcp.Unacked, BytesAcked: tcp.Bytes_acked, BytesReceived: tcp.Bytes_received,
				BytesSent: tcp.Bytes_sent, BytesRetransmitted: tcp.Bytes_retrans}
		}
		attributes = attributes[min(len(attributes), (length+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	return info
}
