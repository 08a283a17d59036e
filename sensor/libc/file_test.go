package libc

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/probe"
)

// TestLibcs: what is executed of a libc counts, whatever is mapped beside it.
func TestLibcs(t *testing.T) {
	const text = `55d0c0000000-55d0c0002000 r-xp 00002000 fd:00 131 /usr/bin/cat
7f0000000000-7f0000026000 r--p 00000000 fd:00 326269 /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000026000-7f000017c000 r-xp 00026000 fd:00 326269 /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000200000-7f0000226000 r-xp 00000000 fd:00 7 /usr/lib/libcrypto.so.3
7f0000300000-7f0000326000 r-xp 00000000 fd:00 8 /opt/a dir/libc-2.31.so (deleted)
00400000-00401000 r-xp 00000000 00:1a 9 /lib/ld-musl-x86_64.so.1
7f0000500000-7f0000526000 r-xp 00000000 00:1a 10 /lib/x86_64-linux-musl/libc.so
7f0000600000-7f0000626000 r-xp 00000000 00:00 0
7f0000700000-7f0000726000 r-xp 00000000 00:1a x /libc.so
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]
/libc.so.6
`
	want := []mapping{
		{"7f0000026000-7f000017c000", 326269, "/usr/lib/x86_64-linux-gnu/libc.so.6"},
		{"7f0000300000-7f0000326000", 8, "/opt/a dir/libc-2.31.so"},
		{"400000-401000", 9, "/lib/ld-musl-x86_64.so.1"},
		{"7f0000500000-7f0000526000", 10, "/lib/x86_64-linux-musl/libc.so"},
	}
	if got := slices.Collect(libcs([]byte(text))); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for n := range text { // cut anywhere
		for range libcs([]byte(text[:n])) {
		}
	}
}

func TestProgramOf(t *testing.T) {
	const rest = " S 1 1 1 0 -1 %s 1 0 0 0 0 0 0 0 20 0 1 0 5000 0 0 0 11 12 13 0 0\n"
	for text, want := range map[string]program{
		"100 (served)" + fmt.Sprintf(rest, "4194304"):    {5000, 11, 12, 13},
		"100 (a) S 1 (b)" + fmt.Sprintf(rest, "4194304"): {5000, 11, 12, 13},
		"2 (kthreadd)" + fmt.Sprintf(rest, "2129984"):    {},
		"100 (served) S 1 1":                             {},
		"100 (served)" + fmt.Sprintf(rest, "a"):          {},
		"":                                               {},
	} {
		if got, ok := programOf([]byte(text)); ok != (want != program{}) || ok && got != want {
			t.Errorf("%q: %v %v, want %v", text, got, ok, want)
		}
	}
}

// TestNoLibc: a file that has the name of a libc, and is none, is left alone, and
// says why.
func TestNoLibc(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("eBPF needs root (CAP_BPF and CAP_PERFMON)")
	}
	p := probe.Open(slog.New(slog.DiscardHandler))
	defer p.Close()
	if _, err := p.AttachLookups("/", 1); errors.Is(err, probe.ErrNoLookups) {
		t.Skip(err)
	}
	header := func(class elf.Class, machine elf.Machine) string {
		h := make([]byte, 64)
		copy(h, elf.ELFMAG)
		h[elf.EI_CLASS], h[elf.EI_DATA], h[elf.EI_VERSION] = byte(class), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
		binary.LittleEndian.PutUint16(h[16:], uint16(elf.ET_DYN))
		binary.LittleEndian.PutUint16(h[18:], uint16(machine))
		binary.LittleEndian.PutUint32(h[20:], uint32(elf.EV_CURRENT))
		return string(h)
	}
	self, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	other := map[elf.Machine]elf.Machine{elf.EM_X86_64: elf.EM_AARCH64, elf.EM_AARCH64: elf.EM_X86_64}[self.Machine]
	// Sections that are said to be where the file has long ended.
	lying := []byte(header(elf.ELFCLASS64, self.Machine))
	binary.LittleEndian.PutUint64(lying[40:], 1<<40)
	binary.LittleEndian.PutUint16(lying[58:], 64)
	binary.LittleEndian.PutUint16(lying[60:], 0xff00)
	for _, tt := range []struct {
		name, content string
		size          int64
		want          error
		says, cause   string
	}{
		{"a text", "GROUP ( /lib/libc.so.6 )", 0, errNoELF, "", CauseUnfit},
		{"nothing", "", 0, errNoELF, "", CauseUnfit},
		{"32 bits", header(elf.ELFCLASS32, elf.EM_386), 0, errBits, "", CauseBits},
		{"another machine", header(elf.ELFCLASS64, other), 0, errMachine, "", CauseMachine},
		{"too large", header(elf.ELFCLASS64, self.Machine), largest + 1, errSize, "", CauseUnfit},
		{"no section", header(elf.ELFCLASS64, self.Machine), 0, nil, "getaddrinfo", CauseUnfit},
		{"sections beyond the end", string(lying), 0, nil, "parse ELF file", CauseUnfit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			mapLibc(t, dir, tt.content, tt.size)
			f := New("/proc", p, slog.New(slog.DiscardHandler))
			f.Look()
			found := inDir(f, dir)
			switch {
			case len(found) != 1 || found[0].Err == nil:
				t.Fatalf("it is taken for %v", found)
			case tt.want != nil && !errors.Is(found[0].Err, tt.want), !strings.Contains(found[0].Err.Error(), tt.says):
				t.Errorf("%v, want %v %s", found[0].Err, tt.want, tt.says)
			case f.State().Counts()[tt.cause] == 0:
				t.Errorf("it is counted as %s, want %s", cause(found[0].Err), tt.cause)
			}
		})
	}
	t.Run("a library without it", func(t *testing.T) {
		library := compiled(t, "gcc", "none.c", "-shared", "-fPIC", "-nostdlib")
		content, err := os.ReadFile(library)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		mapLibc(t, dir, string(content), 0)
		f := New("/proc", p, slog.New(slog.DiscardHandler))
		f.Look()
		if found := inDir(f, dir); len(found) != 1 || !errors.Is(found[0].Err, link.ErrNoSymbol) {
			t.Errorf("it is taken for %v", found)
		}
	})
	t.Run("more than there is room for", func(t *testing.T) {
		dir := t.TempDir()
		for i := range Most + 10 {
			below := filepath.Join(dir, fmt.Sprint(i))
			if err := os.Mkdir(below, 0o755); err != nil {
				t.Fatal(err)
			}
			mapLibc(t, below, "a text", 0)
		}
		f := New("/proc", p, slog.New(slog.DiscardHandler))
		f.Look()
		if s := f.State(); len(s.Libraries) != Most || s.Beyond < 10 || s.Counts()[CauseRoom] != s.Beyond {
			t.Errorf("%d libcs and %d beyond", len(s.Libraries), s.Beyond)
		}
	})
}

// mapLibc puts a file libc.so.6 into a directory, with a size where that is more than
// its content's, and into the memory of this process, until the test ends.
func mapLibc(t *testing.T, dir, content string, size int64) {
	t.Helper()
	path := filepath.Join(dir, "libc.so.6")
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	if size > 0 {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	memory, err := unix.Mmap(int(file.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(memory); err != nil {
			t.Error(err)
		}
	})
}

// inDir are the libcs that were found below a directory.
func inDir(f *Finder, dir string) (list []Library) {
	for _, l := range f.State().Libraries {
		if strings.HasPrefix(l.Path, dir) {
			list = append(list, l)
		}
	}
	return list
}

// TestAgain: a process that runs another program is looked at anew, and libcs that
// nobody has any more are let go.
func TestAgain(t *testing.T) {
	w := watch(t, interval)
	dir := t.TempDir()
	file := compiled(t, "gcc", "lookup.c")
	newRoot(t, dir, file)
	s := w.in(t)
	// One process, with the host's libc until it has been looked at.
	release := s.hold(exec.Command("sh", "-c", `sleep 3; exec chroot "$0" /lookup wait`, dir))
	own := named(dir + lib(t, file))
	w.attached(func(l *Library) bool { return own(l) && l.Processes == 1 })
	release()
	w.gone(own)
}

// FuzzLibcs: what is found in a text of maps is named like a libc, by an absolute path,
// and has no more than one line.
func FuzzLibcs(f *testing.F) {
	f.Add([]byte("7f0000000000-7f0000001000 r-xp 00026000 08:01 1234 /usr/lib/x86_64-linux-gnu/libc.so.6\n00400000-00401000 r-xp 0 0:1 5 /lib/ld-musl-x86_64.so.1 (deleted)\n"))
	f.Add([]byte("- --x- / libc.so"))
	f.Add([]byte("a b  c d 18446744073709551616 /libc.so"))
	f.Fuzz(func(t *testing.T, text []byte) {
		n := 0
		for m := range libcs(text) {
			n++
			if m.path == "" || m.path[0] != '/' || !isLibc([]byte(m.path)) || strings.Contains(m.path, "\n") || !strings.Contains(m.addresses, "-") || strings.Contains(m.addresses, "/") {
				t.Errorf("%+v in %q", m, text)
			}
		}
		if lines := bytes.Count(text, []byte("\n")) + 1; n > lines {
			t.Errorf("%d mappings in %d lines", n, lines)
		}
	})
}

// FuzzProgram: where a program lies is in the text of its stat, or it is none.
func FuzzProgram(f *testing.F) {
	f.Add([]byte("100 (a) b) S 1 2 3 4 5 4194304 7 8 9 10 11 12 13 14 15 16 17 18 12345 0 1 2 94000000000000 94000000001000 140000000000000 0 0\n"))
	f.Add([]byte(") 1 2 3"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		p, ok := programOf(stat)
		for _, n := range []uint64{p.start, p.code, p.end, p.stack} {
			if ok && !bytes.Contains(stat, []byte(strconv.FormatUint(n, 10))) {
				t.Errorf("%d is not in %q", n, stat)
			}
		}
	})
}
