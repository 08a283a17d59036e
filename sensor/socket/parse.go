package socket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/netip"
)

// longestRow is far above what the kernel prints for a socket (about 200 bytes).
const longestRow = 4 << 10

// sink takes what a parser finds. The text is valid only during the call.
type sink interface {
	row(Row)
	badRow(cause Cause, text []byte)
}

// parse gives the sink each socket of a file in the format of /proc/net/tcp,
// tcp6, udp and udp6 (kernel: net/ipv4/tcp_ipv4.c get_tcp4_sock,
// net/ipv4/udp.c udp4_format_sock and their IPv6 like). A row that does not fit
// the format costs itself alone. The error is the reader's, or that of a first
// line that is not the header. The buffer, of at least [longestRow] bytes, is
// overwritten.
func parse(r io.Reader, protocol Protocol, buffer []byte, to sink) error {
	var (
		header  = true  // the first line is still to come
		tooLong = false // the rest of a row that did not fit is skipped
		begin   = 0     // of the bytes that are not parsed yet
		end     = 0
	)
	for {
		n, err := r.Read(buffer[end:])
		end += n
		last := err == io.EOF
		if err != nil && !last {
			return err
		}
		for begin < end {
			length := bytes.IndexByte(buffer[begin:end], '\n')
			if length < 0 && !last {
				break
			}
			next := begin + length + 1
			if length < 0 {
				length, next = end-begin, end
			}
			line := buffer[begin : begin+length]
			begin = next
			switch {
			case tooLong:
				tooLong = false
			case header:
				if !bytes.Contains(line, []byte("local_address")) {
					return fmt.Errorf("first line %.80q is not the header of a socket table", line)
				}
				header = false
			default:
				row, cause := parseRow(line)
				if cause != "" {
					to.badRow(cause, line)
					continue
				}
				row.Protocol = protocol
				to.row(row)
			}
		}
		if last {
			if header {
				return fmt.Errorf("it is empty: not even the header of a socket table")
			}
			return nil
		}
		end = copy(buffer, buffer[begin:end])
		begin = 0
		if end == len(buffer) {
			if header {
				return fmt.Errorf("first line %.80q is not the header of a socket table", buffer)
			}
			if !tooLong {
				to.badRow(CauseRowLong, buffer)
			}
			tooLong, end = true, 0
		}
	}
}

// The columns of a row. Those after the inode differ from table to table, but
// each has a reference count and a kernel pointer next: they prove that the row
// was neither cut nor shifted by a hole.
const (
	columnSlot = iota
	columnLocal
	columnRemote
	columnState
	columnQueues
	columnTimer
	columnRetransmits
	columnUID
	columnTimeout
	columnInode
	columnReferences
	columnPointer
	columns
)

// parseRow reads one line. The cause is empty when it is a row.
func parseRow(line []byte) (row Row, fault Cause) {
	var fields [columns][]byte
	if !split(line, &fields) || len(fields[columnPointer]) < 8 {
		return row, CauseRowShort
	}
	slot := fields[columnSlot]
	if slot[len(slot)-1] != ':' {
		return row, CauseRowShort
	}
	local, fault := parseEnd(fields[columnLocal])
	if fault != "" {
		return row, fault
	}
	remote, fault := parseEnd(fields[columnRemote])
	if fault != "" {
		return row, fault
	}
	if fault = row.setEnds(local, remote); fault != "" {
		return row, fault
	}
	state, fault := hexadecimal(fields[columnState], highestState)
	if fault != "" {
		return row, fault
	}
	if fault = row.setState(state); fault != "" {
		return row, fault
	}
	if row.TxQueue, row.RxQueue, fault = parseQueues(fields[columnQueues]); fault != "" {
		return row, fault
	}
	if len(fields[columnRetransmits]) != 8 {
		return row, CauseRowShort
	}
	uid, fault := decimal(fields[columnUID], math.MaxUint32)
	if fault != "" {
		return row, fault
	}
	row.UID = uint32(uid)
	row.Inode, fault = decimal(fields[columnInode], math.MaxUint64)
	return row, fault
}

// split cuts a line at its blanks, and reports whether it has all columns.
func split(line []byte, fields *[columns][]byte) bool {
	at := 0
	for i := range fields {
		for at < len(line) && line[at] == ' ' {
			at++
		}
		begin := at
		for at < len(line) && line[at] != ' ' {
			at++
		}
		if begin == at {
			return false
		}
		fields[i] = line[begin:at]
	}
	return true
}

// parseEnd reads ADDRESS:PORT in hexadecimal. The address is printed as 32-bit
// words in the byte order of the host, the port in ordinary order.
func parseEnd(text []byte) (end netip.AddrPort, fault Cause) {
	digits := bytes.IndexByte(text, ':')
	if digits != 8 && digits != 32 {
		return end, CauseRowAddress
	}
	var bytes [16]byte
	for i := 0; i < digits; i += 8 {
		word, fault := hexadecimal(text[i:i+8], math.MaxUint32)
		if fault != "" {
			return end, fault
		}
		binary.NativeEndian.PutUint32(bytes[i/2:], uint32(word))
	}
	port, fault := hexadecimal(text[digits+1:], math.MaxUint16)
	if fault != "" {
		return end, fault
	}
	if len(text) != digits+len(":0000") {
		return end, CauseRowAddress
	}
	if digits == 8 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(bytes[:4])), uint16(port)), ""
	}
	return netip.AddrPortFrom(netip.AddrFrom16(bytes), uint16(port)), ""
}

// parseQueues reads TX:RX, each of eight hexadecimal digits.
func parseQueues(text []byte) (tx, rx uint32, fault Cause) {
	if len(text) != 17 || text[8] != ':' {
		return 0, 0, CauseRowShort
	}
	sent, fault := hexadecimal(text[:8], math.MaxUint32)
	if fault != "" {
		return 0, 0, fault
	}
	received, fault := hexadecimal(text[9:], math.MaxUint32)
	return uint32(sent), uint32(received), fault
}

// digitOf gives the value of a hexadecimal digit, and 0xff to all else.
var digitOf = func() (table [256]uint8) {
	for i := range table {
		table[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		table[c] = uint8(i)
	}
	for i, c := range []byte("ABCDEF") {
		table[c] = uint8(10 + i)
	}
	return table
}()

func hexadecimal(text []byte, highest uint64) (uint64, Cause) { return number(text, 16, highest) }
func decimal(text []byte, highest uint64) (uint64, Cause)     { return number(text, 10, highest) }

// number is strconv.ParseUint over bytes: a string for each field would be most
// of the cost of reading a row.
func number(text []byte, base uint8, highest uint64) (n uint64, fault Cause) {
	if len(text) == 0 {
		return 0, CauseRowShort
	}
	for _, c := range text {
		digit := digitOf[c]
		if digit >= base {
			return 0, CauseRowNumber
		}
		if n > (highest-uint64(digit))/uint64(base) {
			return 0, CauseRowRange
		}
		n = n*uint64(base) + uint64(digit)
	}
	return n, ""
}
