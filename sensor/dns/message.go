package dns

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/netview-project/netview/event"
)

// mostQuestions is how many questions of a message are read. A message of DNS has
// one; one of mDNS may have several, in a datagram of 1,500 bytes.
const mostQuestions = 64

// longestData is how much of the text of a record's data is kept, in bytes.
const longestData = 1024

// Errors of a message. What was read before stays.
var (
	errShort  = errors.New("a message is cut short")
	errNumber = errors.New("a message has too many questions")
)

const sizeOfHeader = 12

// question of a message.
type question struct {
	name        string
	kind, class uint16
}

// record of the answer section.
type record struct {
	owner string
	kind  uint16
	ttl   uint32
	// data in presentation format; of an alias, the name.
	data    string
	address netip.Addr // of A and AAAA
}

// message is a DNS message (RFC 1035, 4). Its memory is used again.
type message struct {
	data      []byte
	id, flags uint16
	// counts of questions, answers, authorities and additional records, as the
	// header has them.
	counts    [4]uint16
	questions []question
	answers   []record
	answersAt int
	texts     texts
}

func (m *message) response() bool  { return m.flags&0x8000 != 0 }
func (m *message) opcode() int     { return int(m.flags>>11) & 0xF }
func (m *message) truncated() bool { return m.flags&0x0200 != 0 }

// read takes header and questions of a message. In mDNS the highest bit of a
// class asks for an answer by unicast, and is no part of it (RFC 6762, 5.4).
func (m *message) read(data []byte, mdns bool) error {
	m.questions, m.answers = m.questions[:0], m.answers[:0]
	if len(data) < sizeOfHeader {
		return errShort
	}
	m.data = data
	m.id, m.flags = binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	for i := range m.counts {
		m.counts[i] = binary.BigEndian.Uint16(data[4+2*i:])
	}
	if m.counts[0] > mostQuestions {
		return errNumber
	}
	at := sizeOfHeader
	for range m.counts[0] {
		name, next, err := m.texts.name(data, at)
		if err != nil {
			return err
		}
		if at = next + 4; at > len(data) {
			return errShort
		}
		q := question{name, binary.BigEndian.Uint16(data[next:]), binary.BigEndian.Uint16(data[next+2:])}
		if mdns {
			q.class &= 0x7FFF
		}
		m.questions = append(m.questions, q)
	}
	m.answersAt = at
	return nil
}

// readAnswers takes the answer section after read, at most event.MaxAnswers of it,
// as far as it is well-formed and there.
func (m *message) readAnswers() error {
	at := m.answersAt
	for range min(m.counts[1], event.MaxAnswers) {
		owner, next, err := m.texts.name(m.data, at)
		if err != nil {
			return err
		}
		kind, ttl, from, to, err := m.fixed(next)
		if err != nil {
			return err
		}
		r := record{owner: owner, kind: kind, ttl: ttl}
		if err := m.readData(&r, from, to); err != nil {
			return err
		}
		m.answers = append(m.answers, r)
		at = to
	}
	return nil
}

// fixed reads what follows the name of a record, and says where its data is.
func (m *message) fixed(at int) (kind uint16, ttl uint32, from, to int, err error) {
	if at+10 > len(m.data) {
		return 0, 0, 0, 0, errShort
	}
	b := m.data[at:]
	kind, ttl = binary.BigEndian.Uint16(b), binary.BigEndian.Uint32(b[4:])
	from = at + 10
	if to = from + int(binary.BigEndian.Uint16(b[8:])); to > len(m.data) {
		return 0, 0, 0, 0, errShort
	}
	if ttl > 1<<31-1 { // it is none (RFC 2181, 8)
		ttl = 0
	}
	return kind, ttl, from, to, nil
}

// readData reads the data of a record, which is between two offsets.
func (m *message) readData(r *record, from, to int) (err error) {
	switch {
	case r.kind == dns.TypeA && to-from == 4, r.kind == dns.TypeAAAA && to-from == 16:
		r.address, _ = netip.AddrFromSlice(m.data[from:to])
		r.data = m.texts.address(r.address)
		r.address = r.address.Unmap() // as the sockets have it
	case isName(r.kind):
		var next int
		if r.data, next, err = m.texts.name(m.data[:to], from); err == nil && next != to {
			err = errShort
		}
	default:
		header := dns.RR_Header{Name: ".", Rrtype: r.kind, Class: dns.ClassINET, Rdlength: uint16(to - from)}
		rr, _, err := dns.UnpackRRWithHeader(header, m.data[:to], from)
		if err != nil {
			return err
		}
		if unknown, is := rr.(*dns.RFC3597); is {
			r.data = `\# ` + strconv.Itoa(to-from) + " " + unknown.Rdata
		} else {
			r.data = strings.TrimPrefix(rr.String(), rr.Header().String())
		}
		if len(r.data) > longestData {
			r.data = strings.Clone(r.data[:longestData])
		}
		r.data = strings.ToValidUTF8(r.data, "\uFFFD")
	}
	return err
}

// isName reports whether the data of a type is a name and nothing else.
func isName(kind uint16) bool {
	return kind == dns.TypeCNAME || kind == dns.TypePTR || kind == dns.TypeNS || kind == dns.TypeDNAME
}

// rcode is the name of the response code; its upper bits are in the OPT record of
// EDNS (RFC 6891, 6.1.3), where there is one.
func (m *message) rcode() string {
	code := int(m.flags & 0xF)
	at := m.answersAt
	for i := range int(m.counts[1]) + int(m.counts[2]) + int(m.counts[3]) {
		next, ok := skipName(m.data, at)
		if !ok {
			break
		}
		if next+10 > len(m.data) {
			break
		}
		kind, ttl := binary.BigEndian.Uint16(m.data[next:]), binary.BigEndian.Uint32(m.data[next+4:])
		if kind == dns.TypeOPT && i >= int(m.counts[1])+int(m.counts[2]) {
			code |= int(ttl>>24) << 4
			break
		}
		at = next + 10 + int(binary.BigEndian.Uint16(m.data[next+8:]))
	}
	if code == dns.RcodeBadVers {
		return "BADVERS" // the same number is BADSIG, outside the header
	}
	if name, known := dns.RcodeToString[code]; known {
		return name
	}
	return "RCODE" + strconv.Itoa(code)
}

// skipName returns where a message goes on after a name.
func skipName(message []byte, at int) (next int, ok bool) {
	for at < len(message) {
		c := int(message[at])
		switch {
		case c == 0:
			return at + 1, true
		case c >= 0xC0:
			return at + 2, true
		case c > 63:
			return 0, false
		}
		at += 1 + c
	}
	return 0, false
}

// typeName and className are those of RFC 1035 and later, or as RFC 3597 has it.
func typeName(kind uint16) string {
	if name, known := dns.TypeToString[kind]; known {
		return name
	}
	return "TYPE" + strconv.Itoa(int(kind))
}

func className(class uint16) string {
	if name, known := dns.ClassToString[class]; known {
		return name
	}
	return "CLASS" + strconv.Itoa(int(class))
}

// Address of a name.
type Address struct {
	Address netip.Addr
	// TTL is the least of the record and of the aliases that lead to it.
	TTL time.Duration
}

// resolve appends the addresses that the records have for a name, or for the name
// that its aliases lead to.
func resolve(to []Address, records []record, name string) []Address {
	ttl := uint32(1<<31 - 1)
	for range records { // no chain is longer
		i := slices.IndexFunc(records, func(r record) bool { return r.owner == name && r.kind == dns.TypeCNAME })
		if i < 0 {
			break
		}
		name, ttl = records[i].data, min(ttl, records[i].ttl)
	}
	for i := range records {
		if r := &records[i]; r.owner == name && r.address.IsValid() {
			to = append(to, Address{r.address, time.Duration(min(ttl, r.ttl)) * time.Second})
		}
	}
	return to
}
