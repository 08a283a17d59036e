package dns

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

var errName = errors.New("a name is malformed")

// longestName is what a name may take on the wire (RFC 1035, 2.3.4).
const longestName = 255

// readName appends the name that begins at an offset of a message, in lower case
// and without pointers, and returns where the message goes on. A pointer that does
// not lead back, to what was there before the name, is refused: so none can loop.
func readName(to, message []byte, at int) (name []byte, next int, err error) {
	start, lowest := len(to), at
	for {
		if at >= len(message) {
			return to, 0, errName
		}
		c := int(message[at])
		switch {
		case c >= 0xC0:
			if at+1 >= len(message) {
				return to, 0, errName
			}
			if next == 0 {
				next = at + 2
			}
			if at = (c&0x3F)<<8 | int(message[at+1]); at >= lowest {
				return to, 0, errName
			}
			lowest = at
			continue
		case c > 63, at+1+c > len(message), len(to)-start+1+c > longestName:
			return to, 0, errName
		}
		to = append(to, byte(c))
		for _, b := range message[at+1 : at+1+c] {
			if 'A' <= b && b <= 'Z' {
				b += 'a' - 'A'
			}
			to = append(to, b)
		}
		if at += 1 + c; c == 0 {
			if next == 0 {
				next = at
			}
			return to, next, nil
		}
	}
}

// texts remembers the text of what was met before: a host asks for the same names
// and gets the same addresses time and again.
type texts struct {
	names     map[string]string // by name on the wire
	addresses map[netip.Addr]string
	scratch   []byte
}

// mostTexts is how many names and how many addresses are remembered. They take up
// to 10 MB, if all of them are as long as can be.
const mostTexts = 1 << 13

func newTexts() texts { return texts{names: map[string]string{}, addresses: map[netip.Addr]string{}} }

// name reads a name as readName does, and returns it in presentation format.
func (t *texts) name(message []byte, at int) (name string, next int, err error) {
	t.scratch, next, err = readName(t.scratch[:0], message, at)
	if err != nil {
		return "", 0, err
	}
	name, known := t.names[string(t.scratch)]
	if !known {
		if name, _, err = dns.UnpackDomainName(t.scratch, 0); err != nil {
			return "", 0, errName
		}
		name = trimDot(name)
		if len(t.names) >= mostTexts {
			clear(t.names)
		}
		t.names[string(t.scratch)] = name
	}
	return name, next, nil
}

// address returns an address as text.
func (t *texts) address(a netip.Addr) string {
	text, known := t.addresses[a]
	if !known {
		if len(t.addresses) >= mostTexts {
			clear(t.addresses)
		}
		text = a.String()
		t.addresses[a] = text
	}
	return text
}

// HostName is a name as a person wrote it in the form of event.DNSLookup: in lower
// case, without the dot at the end.
func HostName(text string) string { return trimDot(strings.ToLower(text)) }

// trimDot takes the dot off the end of a name, unless it is all of it: the root.
func trimDot(name string) string {
	if name == "." {
		return name
	}
	return strings.TrimSuffix(name, ".")
}
