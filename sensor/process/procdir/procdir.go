// Package procdir reads directories, links and small files of procfs through
// descriptors of their directories. A descriptor of /proc/PID stays that of one
// process: once the process has ended everything below it fails with ESRCH or
// ENOENT, even when the pid belongs to another by then. Paths give no such
// promise. Nothing is allocated for a single entry, since a host has very many.
package procdir

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LargestFile is how much of a file [Buffers.ReadFile] reads, in bytes.
const LargestFile = 16 << 20

// errTooLarge says that a file is larger than [LargestFile].
var errTooLarge = errors.New("the file is larger than 16 MiB")

// Dir is an open directory.
type Dir int

// Open opens a directory by its path.
func Open(path string) (Dir, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return Dir(fd), nil
}

// Close closes the directory.
func (d Dir) Close() { unix.Close(int(d)) }

// Buffers are reused from one call to the next. What a method returns is valid
// until the next call of a method. The zero value is ready; it is not safe for
// concurrent use.
type Buffers struct {
	path    []byte
	link    []byte
	file    []byte
	entries []byte
}

// OpenNumber opens the directory whose name is a number, such as that of a pid.
func (b *Buffers) OpenNumber(d Dir, number uint32) (Dir, error) {
	b.path = strconv.AppendUint(b.path[:0], uint64(number), 10)
	fd, err := b.open(d, unix.O_DIRECTORY)
	return Dir(fd), err
}

// OpenDir opens a directory below d.
func (b *Buffers) OpenDir(d Dir, name string) (Dir, error) {
	fd, err := b.OpenFile(d, name, unix.O_DIRECTORY)
	return Dir(fd), err
}

// OpenFile opens a file below d to be read.
func (b *Buffers) OpenFile(d Dir, name string, flags int) (int, error) {
	b.path = append(b.path[:0], name...)
	return b.open(d, flags)
}

func (b *Buffers) open(d Dir, flags int) (int, error) {
	b.path = append(b.path, 0)
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(d), uintptr(unsafe.Pointer(&b.path[0])),
			uintptr(flags|unix.O_RDONLY|unix.O_CLOEXEC|unix.O_LARGEFILE), 0, 0, 0)
		switch errno {
		case 0:
			return int(fd), nil
		case unix.EINTR:
		default:
			return -1, errno
		}
	}
}

// Readlink reads the target of a link below d.
func (b *Buffers) Readlink(d Dir, name string) ([]byte, error) {
	b.path = append(b.path[:0], name...)
	return b.readlink(d)
}

// ReadlinkNumber reads the target of the link PREFIX NUMBER SUFFIX below d.
func (b *Buffers) ReadlinkNumber(d Dir, prefix string, number uint32, suffix string) ([]byte, error) {
	b.path = append(strconv.AppendUint(append(b.path[:0], prefix...), uint64(number), 10), suffix...)
	return b.readlink(d)
}

func (b *Buffers) readlink(d Dir) ([]byte, error) {
	if b.link == nil {
		b.link = make([]byte, unix.PathMax)
	}
	b.path = append(b.path, 0)
	n, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(d), uintptr(unsafe.Pointer(&b.path[0])),
		uintptr(unsafe.Pointer(&b.link[0])), uintptr(len(b.link)), 0, 0)
	if errno != 0 {
		return nil, errno
	}
	return b.link[:n], nil
}

// ReadFile reads a whole file below d, up to [LargestFile].
func (b *Buffers) ReadFile(d Dir, name string) ([]byte, error) {
	fd, err := b.OpenFile(d, name, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if b.file == nil {
		b.file = make([]byte, 4<<10)
	}
	for length := 0; ; {
		n, err := unix.Read(fd, b.file[length:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case n == 0:
			return b.file[:length], nil
		}
		length += max(n, 0)
		if length < len(b.file) {
			continue
		}
		if length >= LargestFile {
			return nil, errTooLarge
		}
		b.file = append(b.file, make([]byte, length)...)
	}
}

// AppendNumbers appends the entries of d whose names are numbers up to 2³²−1:
// processes, threads and descriptors are all named so. Others are left out. It
// begins anew at each call.
func (b *Buffers) AppendNumbers(numbers []uint32, d Dir) ([]uint32, error) {
	if _, err := unix.Seek(int(d), 0, io.SeekStart); err != nil {
		return numbers, err
	}
	if b.entries == nil {
		b.entries = make([]byte, 32<<10)
	}
	for {
		n, err := unix.Getdents(int(d), b.entries)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return numbers, err
		}
		// struct linux_dirent64: inode u64, offset i64, length u16, type u8, name.
		for rest := b.entries[:n]; len(rest) > dirent; {
			length := int(binary.NativeEndian.Uint16(rest[16:]))
			if length <= dirent || length > len(rest) {
				break
			}
			if number, ok := parseNumber(rest[dirent:length]); ok {
				numbers = append(numbers, number)
			}
			rest = rest[length:]
		}
	}
}

// dirent is the offset of the name in struct linux_dirent64.
const dirent = 19

// parseNumber reads a decimal number that ends at a NUL.
func parseNumber(name []byte) (uint32, bool) {
	n := uint64(0)
	for i, c := range name {
		if c == 0 {
			return uint32(n), i > 0
		}
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + uint64(c-'0'); n > math.MaxUint32 {
			return 0, false
		}
	}
	return 0, false
}

// Inode reads the number out of a link such as socket:[4711] or net:[4026531840],
// where kind is what stands before the colon.
func Inode(link []byte, kind string) (uint64, bool) {
	if len(link) < len(kind)+4 || string(link[:len(kind)]) != kind || link[len(kind)] != ':' ||
		link[len(kind)+1] != '[' || link[len(link)-1] != ']' {
		return 0, false
	}
	n := uint64(0)
	for _, c := range link[len(kind)+2 : len(link)-1] {
		digit := uint64(c - '0')
		if c < '0' || c > '9' || n > (math.MaxUint64-digit)/10 {
			return 0, false
		}
		n = n*10 + digit
	}
	return n, true
}

// Gone reports whether an error says that a process ended: ordinary on a host
// where processes come and go.
func Gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}

// Denied reports whether an error says that a right is missing.
func Denied(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
}
