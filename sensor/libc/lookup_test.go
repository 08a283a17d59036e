package libc

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lookups: do this, expect exactly these. The programs' names are cut to 15 bytes.
var lookups = []struct {
	name string
	do   []string
	// get of each libc; where musl gets the same, it is not repeated.
	get, musl []string
}{
	{"an address", []string{"node", "127.0.0.1", "80"}, []string{"127.0.0.1 80 ok [127.0.0.1]"}, nil},
	{"an address of any type of socket", []string{"node", "127.0.0.1", "-", "2", "0"}, []string{"127.0.0.1 - ok [127.0.0.1]"}, nil},
	{"/etc/hosts", []string{"node", "localhost", "-", "0", "0"}, []string{"localhost - ok [::1 127.0.0.1]"}, nil},
	{"no such name", []string{"node", "nothing.invalid"}, []string{"nothing.invalid - EAI_NONAME []"}, nil},
	{"the name of a service", []string{"node", "one.test", "http"}, []string{"one.test http ok [192.0.2.1]"}, nil},
	{"no such service", []string{"node", "one.test", "nosuch"}, []string{"one.test nosuch EAI_SERVICE []"}, nil},
	{"no name", []string{"node", "-", "53"}, []string{"- 53 ok [127.0.0.1]"}, nil},
	{"neither name nor service", []string{"node", "-", "-"}, []string{"- - EAI_NONAME []"}, nil},
	{"a family that does not exist", []string{"node", "one.test", "-", "77"}, []string{"one.test - EAI_FAMILY []"}, nil},
	{"IPv6 alone", []string{"node", "six.test", "-", "10"}, []string{"six.test - ok [2001:db8::6]"}, nil},
	{"IPv6 of a name with IPv4", []string{"node", "one.test", "-", "10"}, []string{"one.test - EAI_NODATA []"}, []string{"one.test - EAI_NONAME []"}},
	{"both families", []string{"node", "six.test", "443", "0"}, []string{"six.test 443 ok [2001:db8::6]"}, nil},
	{"two addresses", []string{"node", "two.test"}, []string{"two.test - ok [192.0.2.2 192.0.2.3]"}, nil},
	{"more addresses than are told", []string{"node", "many.test", "-", "2", "0"}, []string{"many.test - ok [192.0.2.100 192.0.2.101 192.0.2.102 192.0.2.103 192.0.2.104 192.0.2.105 192.0.2.106 192.0.2.107 192.0.2.108 192.0.2.109 192.0.2.110 192.0.2.111 192.0.2.112 192.0.2.113 192.0.2.114 192.0.2.115] and more"}, nil},
	{"no answer", []string{"node", "mute.test"}, []string{"mute.test - EAI_AGAIN []"}, nil},
	{"a server that fails", []string{"node", "broken.test"}, []string{"broken.test - EAI_AGAIN []"}, nil},
	{"threads", []string{"threads"}, []string{"50 × 127.0.0.1 80 ok [127.0.0.1]", "50 × 127.0.0.2 80 ok [127.0.0.2]", "50 × 127.0.0.3 80 ok [127.0.0.3]", "50 × 127.0.0.4 80 ok [127.0.0.4]"}, nil},
	{"fork", []string{"fork"}, []string{"6 × 127.0.0.1 - ok [127.0.0.1]"}, nil},
	{"vfork", []string{"vfork"}, []string{"6 × 127.0.0.1 - ok [127.0.0.1]"}, nil},
	{"longjmp out of a call", []string{"longjmp", "mute.test"}, []string{"5 × 127.0.0.1 - ok [127.0.0.1]"}, nil},
	{"longjmp from another stack", []string{"longjmp-stack", "mute.test"}, []string{"5 × 127.0.0.1 - ok [127.0.0.1]"}, nil},
	{"a call in a call", []string{"nested", "mute.test"}, []string{"127.0.0.9 - ok [127.0.0.9]", "mute.test - EAI_AGAIN []"}, nil},
	{"a fork in a call", []string{"split", "mute.test"}, []string{"mute.test - EAI_AGAIN []"}, nil},
	{"an exec in a call", []string{"exec", "mute.test"}, []string{"127.0.0.1 - ok [127.0.0.1]"}, nil},
	{"a thread that is cancelled in a call", []string{"cancel", "mute.test"}, []string{"127.0.0.1 - ok [127.0.0.1]"}, nil},
	{"a filter of system calls", []string{"sandbox"}, []string{"127.0.0.1 - ok [127.0.0.1]"}, nil},
	{"names that are none", []string{"odd"}, []string{longest + " - EAI_NONAME []", strings.Repeat("b", 263) + " - EAI_NONAME []",
		"bücher.\xff.invalid - EAI_NONAME []", " - EAI_NONAME []"}, nil},
}

// longest name that DNS has.
var longest = strings.Repeat(strings.Repeat("a", 49)+".", 5) + "aaaaa"

// TestLookups with programs in C, for each libc.
func TestLookups(t *testing.T) {
	for _, compiler := range []string{"gcc", "musl-gcc"} {
		t.Run(compiler, func(t *testing.T) {
			file := compiled(t, compiler, "lookup.c")
			w, hold := watch(t, interval), newStage(t)
			hold.hold(exec.Command(file, "wait"))
			library := libcOf(t, file)
			w.attached(named(library))
			comm := " by " + compiler + "-lookup"
			for _, tt := range lookups {
				t.Run(tt.name, func(t *testing.T) {
					s := w.in(t)
					s.run(append([]string{file}, tt.do...)...)
					want := tt.get
					if compiler != "gcc" && tt.musl != nil {
						want = tt.musl
					}
					var lines []string
					for _, line := range want {
						lines = append(lines, line+comm)
					}
					w.expect(s.NS, lines...)
				})
			}
		})
	}
}

// TestReturnAddress: the same with a libc in which the end of the function cannot be
// found, since its size is not right, so that the kernel changes the return address.
func TestReturnAddress(t *testing.T) {
	file := compiled(t, "gcc", "lookup.c")
	dir := t.TempDir()
	newRoot(t, dir, file)
	for name, text := range etc {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "etc"), 0o755), os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	own := dir + lib(t, file)
	cutFunction(t, own)
	w, hold := watch(t, interval), newStage(t)
	hold.hold(inRoot(dir, "wait"))
	w.attached(named(own))
	for _, tt := range lookups {
		t.Run(tt.name, func(t *testing.T) {
			if tt.do[0] == "cancel" {
				t.Skip("a thread that walks its stack does not get past that address: docs/lookups.md")
			}
			s := w.in(t)
			s.runIn(inRoot(dir, tt.do...))
			var lines []string
			for _, line := range tt.get {
				lines = append(lines, line+" by lookup")
			}
			w.expect(s.NS, lines...)
		})
	}
}

// cutFunction makes the last byte of getaddrinfo none of its own, by the symbols of a
// libc.
func cutFunction(t testing.TB, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f, err := elf.NewFile(file)
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range symbols {
		if s.Name != "getaddrinfo" {
			continue
		}
		// The table begins with a symbol that is none; st_size is at 16 of 24 bytes.
		at := int64(f.SectionByType(elf.SHT_DYNSYM).Offset) + int64(i+1)*24 + 16
		if _, err := file.WriteAt(binary.LittleEndian.AppendUint64(nil, s.Size-1), at); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("it has no getaddrinfo")
}

// libcOf a program, as its processes have it.
func libcOf(t *testing.T, file string) string {
	t.Helper()
	command := exec.Command(file, "wait")
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer command.Wait()
	defer input.Close()
	return mapped(t, command.Process.Pid)
}
