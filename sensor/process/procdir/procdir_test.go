package procdir

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBuffers(t *testing.T) {
	root := t.TempDir()
	large := strings.Repeat("x", 100_000)
	for _, dir := range []string{"1", "42", "4294967295", "4294967296", "self", "7x"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "42/large"), []byte(large), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("socket:[7]", filepath.Join(root, "42/3")); err != nil {
		t.Fatal(err)
	}
	dir, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var b Buffers
	for range 2 { // a directory can be listed again
		numbers, err := b.AppendNumbers(nil, dir)
		slices.Sort(numbers)
		if err != nil || !slices.Equal(numbers, []uint32{1, 42, 4294967295}) {
			t.Errorf("numbers %v, error %v", numbers, err)
		}
	}
	process, err := b.OpenNumber(dir, 42)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	if text, err := b.ReadFile(process, "large"); err != nil || string(text) != large {
		t.Errorf("%d bytes, error %v", len(text), err)
	}
	if link, err := b.ReadlinkNumber(dir, "", 42, "/3"); err != nil || string(link) != "socket:[7]" {
		t.Errorf("link %q, error %v", link, err)
	}
	if _, err := b.OpenNumber(dir, 2); !Gone(err) || Denied(err) {
		t.Errorf("error %v of a process that is not there", err)
	}
	if Gone(unix.EACCES) || !Denied(unix.EACCES) || !Gone(unix.ESRCH) {
		t.Error("causes are mixed up")
	}
}

func TestInode(t *testing.T) {
	for link, want := range map[string]uint64{"socket:[7]": 7, "socket:[18446744073709551615]": 1<<64 - 1} {
		if got, ok := Inode([]byte(link), "socket"); !ok || got != want {
			t.Errorf("%s is %d, %v", link, got, ok)
		}
	}
	for _, link := range []string{"", "socket", "socket:", "socket:[]", "socket:[7", "socket:7]", "socket:[x]", "pipe:[7]", "socket:[18446744073709551616]"} {
		if got, ok := Inode([]byte(link), "socket"); ok {
			t.Errorf("%s is %d", link, got)
		}
	}
}

// FuzzNames: a number is read as strconv reads it, out of a link or the name of a
// directory, or refused.
func FuzzNames(f *testing.F) {
	f.Add([]byte("socket:[4711]"))
	f.Add([]byte("net:[18446744073709551616]"))
	f.Add([]byte("net:[]"))
	f.Add([]byte("4294967295\x00x"))
	f.Add([]byte("4294967296\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, kind := range []string{"socket", "net"} {
			if inode, ok := Inode(text, kind); ok {
				digits := strings.TrimSuffix(strings.TrimPrefix(string(text), kind+":["), "]")
				if want, err := strconv.ParseUint(digits, 10, 64); err != nil && digits != "" || inode != want {
					t.Errorf("%q gives %d (%v)", text, inode, err)
				}
			}
		}
		if number, ok := parseNumber(text); ok {
			digits, _, _ := strings.Cut(string(text), "\x00")
			if want, err := strconv.ParseUint(digits, 10, 32); err != nil || number != uint32(want) {
				t.Errorf("%q gives %d (%v)", text, number, err)
			}
		}
	})
}
