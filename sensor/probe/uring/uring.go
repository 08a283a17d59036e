// Package uring does one request at a time by io_uring(7): enough to accept or
// connect that way, for the sensor's test of itself and for tests. No module for
// io_uring can be had; this is no replacement for one.
package uring

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operations (include/uapi/linux/io_uring.h).
const (
	opAccept  = 13
	opConnect = 16
)

// acceptMultishot goes on accepting after the first connection.
const acceptMultishot = 1 << 0

const enterGetEvents = 1 << 0

// Offsets for mmap.
const (
	offsetSQ   = 0
	offsetCQ   = 0x8000000
	offsetSQEs = 0x10000000
)

type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
	_                                                           uint64
}

type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
	_                                                           uint64
}

type params struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	_                                                                      [3]uint32
	sq                                                                     sqOffsets
	cq                                                                     cqOffsets
}

type sqe struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off, addr     uint64
	length        uint32
	opFlags       uint32
	userData      uint64
	_             [3]uint64
}

type cqe struct {
	userData uint64
	result   int32
	flags    uint32
}

// Ring is used by one goroutine.
type Ring struct {
	fd           int
	sq, cq, sqes []byte
	params       params
}

// New makes a ring. Its error says what the kernel refuses: io_uring may be
// switched off (kernel.io_uring_disabled), or kept from containers.
func New() (*Ring, error) {
	r := &Ring{}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&r.params)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r.fd = int(fd)
	unix.CloseOnExec(r.fd)
	for _, m := range []struct {
		to     *[]byte
		offset int64
		size   uint32
	}{
		{&r.sq, offsetSQ, r.params.sq.array + 4*r.params.sqEntries},
		{&r.cq, offsetCQ, r.params.cq.cqes + uint32(unsafe.Sizeof(cqe{}))*r.params.cqEntries},
		{&r.sqes, offsetSQEs, uint32(unsafe.Sizeof(sqe{})) * r.params.sqEntries},
	} {
		var err error
		if *m.to, err = unix.Mmap(r.fd, m.offset, int(m.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
			r.Close()
			return nil, fmt.Errorf("mapping a ring of io_uring: %w", err)
		}
	}
	return r, nil
}

// Close gives up what is under way.
func (r *Ring) Close() error {
	for _, memory := range [][]byte{r.sq, r.cq, r.sqes} {
		if memory != nil {
			_ = unix.Munmap(memory) // mapped by New
		}
	}
	return unix.Close(r.fd)
}

func word(memory []byte, offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&memory[offset])) }

func (r *Ring) submit(request sqe) error {
	tail := word(r.sq, r.params.sq.tail)
	slot := *tail & *word(r.sq, r.params.sq.ringMask)
	*(*sqe)(unsafe.Pointer(&r.sqes[uintptr(slot)*unsafe.Sizeof(sqe{})])) = request
	*word(r.sq, r.params.sq.array+4*slot) = slot
	atomic.StoreUint32(tail, *tail+1)
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 0, 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("io_uring_enter: %w", errno)
	}
	return nil
}

// wait blocks until a request has its result, an errno if below 0.
func (r *Ring) wait() (int, error) {
	head := word(r.cq, r.params.cq.head)
	for *head == atomic.LoadUint32(word(r.cq, r.params.cq.tail)) {
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 0, 1, enterGetEvents, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return 0, fmt.Errorf("io_uring_enter: %w", errno)
		}
	}
	slot := *head & *word(r.cq, r.params.cq.ringMask)
	result := (*cqe)(unsafe.Pointer(&r.cq[uintptr(r.params.cq.cqes)+uintptr(slot)*unsafe.Sizeof(cqe{})])).result
	atomic.StoreUint32(head, *head+1)
	if result < 0 {
		return 0, unix.Errno(-result)
	}
	return int(result), nil
}

// StartAccept begins to accept from a listener; multishot goes on after the first.
func (r *Ring) StartAccept(listener int, multishot bool) error {
	request := sqe{opcode: opAccept, fd: int32(listener), opFlags: unix.SOCK_CLOEXEC}
	if multishot {
		request.ioprio = acceptMultishot
	}
	return r.submit(request)
}

// Accepted waits for a connection.
func (r *Ring) Accepted() (fd int, err error) { return r.wait() }

// Connect connects a socket to an IPv4 address, and waits for the result.
func (r *Ring) Connect(fd int, to *unix.SockaddrInet4) error {
	address := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr, Port: uint16(to.Port)<<8 | uint16(to.Port)>>8}
	err := r.submit(sqe{opcode: opConnect, fd: int32(fd), addr: uint64(uintptr(unsafe.Pointer(&address))), off: uint64(unsafe.Sizeof(address))})
	if err == nil {
		_, err = r.wait()
	}
	runtime.KeepAlive(&address)
	return err
}
