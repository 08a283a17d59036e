package probe

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestReturns: in libcs the same instructions are found as binutils find.
func TestReturns(t *testing.T) {
	tool, err := exec.LookPath("objdump")
	if err != nil {
		t.Skip(err)
	}
	found := false
	for _, path := range []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-musl/libc.so"} {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		found = true
		out, err := exec.Command(tool, "-d", "-F", "--no-show-raw-insn", "--disassemble=getaddrinfo", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		// With the offset in the file at the beginning of the function only.
		head := regexp.MustCompile(`(?m)^([0-9a-f]+) <getaddrinfo[^>]*> \(File Offset: 0x([0-9a-f]+)\):$`).FindStringSubmatch(string(out))
		if head == nil {
			t.Fatalf("%s shows no getaddrinfo of %s", tool, path)
		}
		number := func(text string) uint64 {
			n, err := strconv.ParseUint(text, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		var want []uint64
		for _, match := range regexp.MustCompile(`(?m)^\s*([0-9a-f]+):\s+(?:repz )?ret`).FindAllStringSubmatch(string(out), -1) {
			want = append(want, number(match[1])-number(head[1])+number(head[2]))
		}
		if got, err := returnsOf(path); err != nil || !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%s: %x, want %x (%v)", path, got, want, err)
		}
	}
	if !found {
		t.Skip("there is no libc of x86-64 at its usual place")
	}
}

// TestReturnsIn: what is not understood to its last byte is refused.
func TestReturnsIn(t *testing.T) {
	for _, tt := range []struct{ name, code, want string }{
		{"a return", "c3", "[0]"},
		{"marked for indirect calls", "f30f1efa 90 c3", "[5]"},
		{"two returns, with a jump to the second", "eb01 c3 c3", "[2 3]"},
		{"a return that takes arguments off", "c20800", "[0]"},
		{"a call out of it", "e800100000 c3", "[5]"},
		{"a byte of a return in a number", "b8c3c3c3c3 c3", "[5]"},
		{"a jump into an instruction", "eb01 b8c3c3c3c3 c3", "no instruction begins"},
		{"a jump to the end", "7401 c3", "leads out"},
		{"a jump before the beginning", "ebf0 c3", "leads out"},
		{"a jump to another function", "e900100000 c3", "leads out"},
		{"a jump to anywhere", "ffe0 c3", "leads anywhere"},
		{"a jump through memory", "ff2500000000 c3", "leads anywhere"},
		{"a far return", "cb", "leads anywhere"},
		{"no return", "90 90", "does not end"},
		{"a last instruction that is cut", "c3 b8c3c3", "the instruction at 1"},
		{"no instruction", "c3 06", "the instruction at 1"},
		{"nothing", "", "does not end"},
	} {
		var code []byte
		if _, err := fmt.Sscanf(strings.ReplaceAll(tt.code, " ", ""), "%x", &code); err != nil && tt.code != "" {
			t.Fatal(err)
		}
		returns, err := returnsIn(code)
		if got := fmt.Sprint(returns, err); !strings.Contains(got, tt.want) || (err == nil) != strings.HasPrefix(tt.want, "[") {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// FuzzReturnsIn: no code makes its reader fail.
func FuzzReturnsIn(f *testing.F) {
	f.Add([]byte{0xeb, 1, 0xc3, 0xc3})
	f.Fuzz(func(t *testing.T, code []byte) {
		returns, err := returnsIn(code)
		for _, at := range returns {
			if err == nil && (at < 0 || at >= len(code)) {
				t.Errorf("%d of %d", at, len(code))
			}
		}
	})
}
