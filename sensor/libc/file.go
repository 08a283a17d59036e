package libc

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// usual are the paths of libcs on the distributions, below a root: glibc's, then
// musl's. Any other is found when it is in memory.
var usual = map[string][]string{
	"amd64": {"lib/x86_64-linux-gnu/libc.so.6", "lib64/libc.so.6", "lib/libc.so.6", "lib/ld-musl-x86_64.so.1"},
	"arm64": {"lib/aarch64-linux-gnu/libc.so.6", "lib64/libc.so.6", "lib/libc.so.6", "lib/ld-musl-aarch64.so.1"},
}[runtime.GOARCH]

// names of the file itself, which often has links with other names: libc-2.31.so is
// glibc's before 2.34, libc.so musl's own name.
var names = []string{"libc.so.6", "libc-2.*.so", "ld-musl-*.so.1", "libc.musl-*.so.1", "libc.so"}

// mapping of a file into the memory of a process.
type mapping struct {
	// addresses as the directory map_files names them.
	addresses string
	inode     uint64
	// path of it, which may lead to another file by now.
	path string
}

// deleted is what the kernel appends to the path of a file that is.
var deleted = []byte(" (deleted)")

// libcs are those that a process runs, by the text of /proc/PID/maps.
func libcs(text []byte) iter.Seq[mapping] {
	return func(yield func(mapping) bool) {
		for line := range bytes.Lines(text) {
			// address perms offset device inode path
			slash := bytes.IndexByte(line, '/')
			if slash < 0 {
				continue
			}
			name, _ := bytes.CutSuffix(bytes.TrimSuffix(line[slash:], []byte{'\n'}), deleted)
			if !isLibc(name) {
				continue
			}
			fields := bytes.Fields(line[:slash])
			if len(fields) != 5 || len(fields[1]) != 4 || fields[1][2] != 'x' {
				continue
			}
			inode, err := strconv.ParseUint(string(fields[4]), 10, 64)
			if err != nil {
				continue
			}
			first, last, _ := bytes.Cut(fields[0], []byte{'-'})
			addresses := string(bytes.TrimLeft(first, "0")) + "-" + string(bytes.TrimLeft(last, "0"))
			if !yield(mapping{addresses, inode, string(name)}) {
				return
			}
		}
	}
}

func isLibc(name []byte) bool {
	base := name[bytes.LastIndexByte(name, '/')+1:]
	if !bytes.HasPrefix(base, []byte("l")) {
		return false
	}
	for _, pattern := range names {
		if match, _ := path.Match(pattern, string(base)); match { // none of them is malformed
			return true
		}
	}
	return false
}

// program tells one that a process runs from another that it runs after execve(2):
// its addresses, with the start of the process.
type program struct{ start, code, end, stack uint64 }

// kernelThread is PF_KTHREAD of include/linux/sched.h.
const kernelThread = 0x00200000

// programOf a process, by the text of /proc/PID/stat (proc(5)); false for one of the
// kernel's, and for what is malformed.
func programOf(stat []byte) (p program, ok bool) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const first, flags, start, code, end, stack = 3, 9, 22, 26, 27, 28 // as proc(5) counts them
	if len(fields) <= stack-first {
		return p, false
	}
	number := func(field int) uint64 {
		n, err := strconv.ParseUint(string(fields[field-first]), 10, 64)
		ok = ok && err == nil
		return n
	}
	ok = true
	p = program{number(start), number(code), number(end), number(stack)}
	return p, number(flags)&kernelThread == 0 && ok
}

// openMapping opens a file that a process has in memory, without reading it: as it
// is, or, where the sensor has no right to that, by its path below the process's
// root or the sensor's, if that still leads to the same inode.
func openMapping(dir procdir.Dir, m *mapping) (fd int, err error) {
	fd, err = unix.Openat(int(dir), "map_files/"+m.addresses, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == nil {
		return fd, nil
	}
	for _, link := range []string{"root", "/"} { // openat(2) takes the second for itself
		root, rootErr := unix.Openat(int(dir), link, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if rootErr != nil {
			continue
		}
		fd, rootErr = openBelow(procdir.Dir(root), m.path)
		unix.Close(root)
		if rootErr != nil {
			continue
		}
		var stat unix.Stat_t
		if rootErr = unix.Fstat(fd, &stat); rootErr == nil && stat.Ino == m.inode {
			return fd, nil
		}
		unix.Close(fd)
	}
	return -1, err
}

// openBelow opens a file below the root of a process, without reading it. Links in
// there are followed as the process would: none leads out of its root.
func openBelow(root procdir.Dir, path string) (int, error) {
	return unix.Openat2(int(root), path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

// pathOf an open file leads to it whatever its name, and whatever its mount.
func pathOf(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// largest file that is taken for a libc; glibc's has 2 MB, and 20 MB unstripped.
const largest = 64 << 20

// check says why a file cannot be a libc that the programs understand. Who runs a
// container may have put anything there.
func check(fd int, size int64) error {
	if size > largest {
		return errSize
	}
	f, err := os.Open(pathOf(fd))
	if err != nil {
		return fmt.Errorf("opening it: %w", err.(*fs.PathError).Err)
	}
	defer f.Close()
	var header [20]byte
	if _, err := f.ReadAt(header[:], 0); err != nil || string(header[:4]) != elf.ELFMAG {
		return errNoELF
	}
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	switch {
	case elf.Class(header[elf.EI_CLASS]) == elf.ELFCLASS32:
		return errBits
	case elf.Machine(uint16(header[18])|uint16(header[19])<<8) != machine:
		return errMachine
	}
	return nil
}
