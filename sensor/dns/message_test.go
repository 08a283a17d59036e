package dns

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/netview-project/netview/event"
)

// header of a message with one question.
func header(questions, answers uint16, rest ...byte) []byte {
	data := make([]byte, sizeOfHeader)
	binary.BigEndian.PutUint16(data[4:], questions)
	binary.BigEndian.PutUint16(data[6:], answers)
	return append(data, rest...)
}

func TestHostileMessages(t *testing.T) {
	tail := []byte{0, 1, 0, 1}
	longest := append(bytes.Repeat(append([]byte{63}, bytes.Repeat([]byte{0xff}, 63)...), 3), append([]byte{61}, bytes.Repeat([]byte{'\\'}, 61)...)...) // and the root: 255
	for name, test := range map[string]struct {
		data []byte
		want string // name of the question; empty where the message is refused
	}{
		"nothing":                {nil, ""},
		"a header cut":           {header(1, 0)[:11], ""},
		"no question there":      {header(1, 0), ""},
		"too many questions":     {header(mostQuestions+1, 0, bytes.Repeat([]byte{0, 0, 1, 0, 1}, 100)...), ""},
		"a pointer to itself":    {header(1, 0, 0xC0, 12, 0, 1, 0, 1), ""},
		"two that loop":          {header(1, 0, 0xC0, 14, 0xC0, 12, 0, 1, 0, 1), ""},
		"a label and a loop":     {header(1, 0, 1, 'a', 0xC0, 12, 0, 1, 0, 1), ""},
		"a pointer ahead":        {header(1, 0, 0xC0, 18, 0, 1, 0, 1, 0), ""},
		"a pointer cut":          {header(1, 0, 0xC0), ""},
		"a label cut":            {header(1, 0, 5, 'a'), ""},
		"a label of 64":          {header(1, 0, append([]byte{64}, make([]byte, 70)...)...), ""},
		"type and class cut":     {header(1, 0, 0, 0, 1, 0), ""},
		"a name of 255 octets":   {append(append(header(1, 0, longest...), 0), tail...), strings.Repeat(strings.Repeat(`\255`, 63)+".", 3) + strings.Repeat(`\\`, 61)},
		"one of 256":             {append(append(header(1, 0, append(longest, 1, 'a')...), 0), tail...), ""},
		"letters beyond ASCII":   {append(header(1, 0, 3, 0xc3, 0xa4, 'B', 0), tail...), `\195\164b`},
		"a dot inside a label":   {append(header(1, 0, 3, 'a', '.', 0, 0), tail...), `a\.\000`},
		"a dot at a label's end": {append(header(1, 0, 2, 'a', '.', 0), tail...), `a\.`},
	} {
		m := message{texts: newTexts()}
		err := m.read(test.data, false)
		if (err != nil) != (test.want == "") || err == nil && m.questions[0].name != test.want {
			t.Errorf("%s: %v %+v", name, err, m.questions)
		}
	}
}

// TestNamesAreAsTheLibraryHasThem: a name reads as miekg/dns unpacks it, in lower
// case and without its dot.
func TestNamesAreAsTheLibraryHasThem(t *testing.T) {
	for _, name := range []string{".", "a.", "www.Example.COM.", `My\ Printer\ 1\.2._ipp._tcp.local.`, `\000\255\032\".x.`, "xn--bcher-kva.example.", strings.Repeat("a.", 127)} {
		data := pack(t, ask(1, name, dns.TypeA))
		m := message{texts: newTexts()}
		want, _, err := dns.UnpackDomainName(data, sizeOfHeader)
		if err != nil || m.read(data, false) != nil || m.questions[0].name != trimDot(strings.ToLower(want)) {
			t.Errorf("%q reads %+v, want %q (%v)", name, m.questions, want, err)
		}
	}
}

// TestUnendingAnswers: 64 KiB of records, with data of 64 KiB, is read as far as is kept.
func TestUnendingAnswers(t *testing.T) {
	data := header(1, 0xFFFF, 1, 'a', 0, 0, 1, 0, 1)
	for len(data) < 1<<16-16 {
		data = append(data, 0xC0, 12, 0, 1, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4, 1, 2, 3, 4)
	}
	m := message{texts: newTexts()}
	if err := m.read(data, false); err != nil || m.readAnswers() != nil || len(m.answers) != event.MaxAnswers || m.answers[0].ttl != 0 {
		t.Errorf("%v, %d answers", err, len(m.answers))
	}
	m.rcode()
	data = header(1, 1, 1, 'a', 0, 0, 1, 0, 1, 0xC0, 12, 0, 16, 0, 1, 0, 0, 0, 1, 0xFF, 0)
	for range 255 {
		data = append(append(data, 255), bytes.Repeat([]byte{0xff}, 255)...)
	}
	if err := m.read(data, false); err != nil || m.readAnswers() != nil || len(m.answers[0].data) != longestData {
		t.Errorf("%v, %+v", err, m.answers)
	}
}
