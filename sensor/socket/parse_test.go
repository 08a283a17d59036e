package socket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// collected is a sink that keeps everything.
type collected struct {
	rows  []Row
	bad   []Cause
	texts []string
}

func (c *collected) row(row Row) { c.rows = append(c.rows, row) }
func (c *collected) badRow(cause Cause, text []byte) {
	c.bad, c.texts = append(c.bad, cause), append(c.texts, string(text))
}

func needLittleEndian(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the fixture was printed by a little-endian kernel")
	}
}

func TestParseCountsBadRowsAndKeepsTheOthers(t *testing.T) {
	needLittleEndian(t)
	text, err := os.ReadFile("testdata/tcp")
	if err != nil {
		t.Fatal(err)
	}
	local, client := netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddr("127.0.0.2")
	wantRows := []Row{
		{State: Listen, Local: local, Remote: netip.MustParseAddrPort("0.0.0.0:0"), Inode: 4711, UID: 1000, RxQueue: 3},
		{State: TimeWait, Local: local, Remote: netip.AddrPortFrom(client, 50002)},
		{State: Established, Local: local, Remote: netip.AddrPortFrom(client, 50003), Inode: 4716, UID: 1000, TxQueue: 16, RxQueue: 32},
	}
	wantBad := []Cause{CauseRowShort, CauseRowShort, CauseRowNumber, CauseRowRange, CauseRowAddress, CauseRowShort, CauseRowShort}
	readers := map[string]func() io.Reader{
		"whole":      func() io.Reader { return bytes.NewReader(text) },
		"bytewise":   func() io.Reader { return iotest.OneByteReader(bytes.NewReader(text)) },
		"halves":     func() io.Reader { return iotest.HalfReader(bytes.NewReader(text)) },
		"no newline": func() io.Reader { return bytes.NewReader(bytes.TrimSuffix(text, []byte("\n"))) },
		"data+EOF":   func() io.Reader { return iotest.DataErrReader(bytes.NewReader(text)) },
	}
	for name, reader := range readers {
		t.Run(name, func(t *testing.T) {
			var got collected
			if err := parse(reader(), TCP, make([]byte, longestRow), &got); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.rows, wantRows) {
				t.Errorf("rows\n%v, want\n%v", got.rows, wantRows)
			}
			if !slices.Equal(got.bad, wantBad) {
				t.Errorf("bad rows %v, want %v", got.bad, wantBad)
			}
		})
	}
}

func TestParseRefusesWhatIsNoTable(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "other file": "Inter-|   Receive\n", "one long line": strings.Repeat("x", 3*longestRow)} {
		var got collected
		if err := parse(strings.NewReader(text), TCP, make([]byte, longestRow), &got); err == nil {
			t.Errorf("%s: no error", name)
		} else if len(err.Error()) > 200 {
			t.Errorf("%s: the error quotes %d bytes", name, len(err.Error()))
		}
	}
	failing := iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(header)))
	if err := parse(failing, TCP, make([]byte, longestRow), &collected{}); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("error %v, want that of the reader", err)
	}
}

func TestParseSkipsRowsThatAreTooLong(t *testing.T) {
	good := formatRow(1, "0100007F:0001", "00000000:0000", 10, 7)
	text := header + strings.Repeat("9", 2*longestRow+17) + "\n" + good
	var got collected
	if err := parse(strings.NewReader(text), TCP, make([]byte, longestRow), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.rows) != 1 || !slices.Equal(got.bad, []Cause{CauseRowLong}) {
		t.Errorf("%d rows and faults %v, want one row and %v", len(got.rows), got.bad, CauseRowLong)
	}
}

func TestParseIPv6(t *testing.T) {
	needLittleEndian(t)
	tests := []struct {
		local, remote string
		state         State
		want          Row
	}{
		{"00000000000000000000000001000000:0035", "00000000000000000000000000000000:0000", Listen,
			Row{State: Listen, Local: netip.MustParseAddrPort("[::1]:53"), Remote: netip.MustParseAddrPort("[::]:0")}},
		{"B80D0120000000000000000001000000:0035", "B80D0120000000000000000002000000:C350", Established,
			Row{State: Established, Local: netip.MustParseAddrPort("[2001:db8::1]:53"), Remote: netip.MustParseAddrPort("[2001:db8::2]:50000")}},
		{"0000000000000000FFFF00000100007F:0035", "0000000000000000FFFF00000200007F:C350", Established,
			Row{State: Established, V4Mapped: true, Local: netip.MustParseAddrPort("127.0.0.1:53"), Remote: netip.MustParseAddrPort("127.0.0.2:50000")}},
		{"0000000000000000FFFF00000100007F:0035", "00000000000000000000000000000000:0000", Listen,
			Row{State: Listen, V4Mapped: true, Local: netip.MustParseAddrPort("127.0.0.1:53"), Remote: netip.MustParseAddrPort("0.0.0.0:0")}},
	}
	for _, test := range tests {
		var got collected
		text := header + formatRow(0, test.local, test.remote, uint8(test.state), 0)
		if err := parse(strings.NewReader(text), TCP, make([]byte, longestRow), &got); err != nil || len(got.rows) != 1 {
			t.Fatalf("%s: %d rows, faults %v, error %v", test.local, len(got.rows), got.bad, err)
		}
		if got.rows[0] != test.want {
			t.Errorf("got %v, want %v", got.rows[0], test.want)
		}
	}
}

const header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func formatRow(slot int, local, remote string, state uint8, inode uint64) string {
	return fmt.Sprintf("%4d: %s %s %02X 00000000:00000000 00:00000000 00000000 %5d %8d %d 1 0000000000000000 100 0 0 10 0\n",
		slot, local, remote, state, 0, 0, inode)
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/tcp")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(header + formatRow(3, "0000000000000000FFFF00000100007F:0035", "00000000000000000000000000000000:0000", 10, 1)))
	f.Add([]byte(header + strings.Repeat(" ", 5000)))
	f.Fuzz(func(t *testing.T, text []byte) {
		var whole, pieces collected
		err := parse(bytes.NewReader(text), UDP, make([]byte, longestRow), &whole)
		again := parse(iotest.OneByteReader(bytes.NewReader(text)), UDP, make([]byte, longestRow), &pieces)
		if (err == nil) != (again == nil) || !slices.Equal(whole.rows, pieces.rows) {
			t.Errorf("what is read depends on the size of the reads: %v and %v, %v and %v", whole.rows, pieces.rows, err, again)
		}
		if err == nil && len(whole.rows)+len(whole.bad) > bytes.Count(text, []byte("\n")) {
			t.Errorf("%d rows and %d faults in %d lines", len(whole.rows), len(whole.bad), bytes.Count(text, []byte("\n")))
		}
		for _, row := range whole.rows {
			if !row.Local.IsValid() || !row.Remote.IsValid() || row.Local.Addr().Is4() != row.Remote.Addr().Is4() || row.Local.Addr().Is4In6() {
				t.Errorf("row %v has impossible ends", row)
			}
		}
	})
}

// FuzzMounts: no more namespaces than lines of mountinfo, each at an absolute path.
func FuzzMounts(f *testing.F) {
	f.Add([]byte("101 32 0:4 net:[4026532300] /run/netns/a\\040b rw shared:1 - nsfs nsfs rw\n"))
	f.Add([]byte("1 2 3 net:[1] /\\"))
	f.Add([]byte(" net:[18446744073709551616] /x\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		n, lines := 0, bytes.Count(text, []byte("\n"))+1
		heldByMounts(bytes.Clone(text), func(_ uint64, path []byte) {
			n++
			if len(path) == 0 || path[0] != '/' && path[0] != '\\' {
				t.Errorf("path %q", path)
			}
		})
		if n > lines {
			t.Errorf("%d namespaces in %d lines", n, lines)
		}
	})
}

// FuzzRange: a range that is accepted has its two ports from the text, in order.
func FuzzRange(f *testing.F) {
	f.Add([]byte("32768\t60999\n"))
	f.Add([]byte("60999 32768"))
	f.Add([]byte("0 65536"))
	f.Add([]byte("1 2 3"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ports, ok := parseRange(text)
		if !ok {
			return
		}
		for i, port := range []uint16{ports.First, ports.Last} {
			fields := strings.Fields(string(text))
			if n, err := strconv.ParseUint(fields[i], 10, 16); err != nil || uint16(n) != port || len(fields) != 2 || !ports.Has(port) {
				t.Errorf("%q gives %v (%v)", text, ports, err)
			}
		}
	})
}
