package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
)

// Questions asks dnsmasq, which has the same core and knows the answers.
type Questions struct {
	thread
	dnsmasq         *exec.Cmd
	socket          int
	message, answer []byte
	asked           uint32
}

// questionZone is what dnsmasq answers for.
const questionZone = "bench.test"

func startQuestions() (*load, error) { return startLoad("questions", "Questions.Run") }

func serveQuestions() error {
	q := &Questions{thread: startThread(), answer: make([]byte, 512)}
	if err := q.do(q.begin); err != nil {
		return err
	}
	return serve(q)
}

func (q *Questions) begin() (err error) {
	if err := errors.Join(testns.LoopbackUp(), pin(0, churnCore)); err != nil {
		return err
	}
	q.dnsmasq = exec.Command("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--group=root", "--pid-file", "--no-resolv", "--no-hosts",
		"--bind-interfaces", "--listen-address=127.0.0.1", "--address=/"+questionZone+"/192.0.2.1")
	// It ends with this thread, since it stays root and of root's group: another's would
	// not get the signal.
	q.dnsmasq.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := q.dnsmasq.Start(); err != nil {
		return fmt.Errorf("starting dnsmasq (apt-get install dnsmasq-base): %w", err)
	}
	// A header with RD and one question, its name, and A, IN.
	q.message = append(q.message, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 8)
	q.message = append(q.message, "00000000\x05bench\x04test\x00\x00\x01\x00\x01"...)
	// It is not connected: that it connects would be an event too.
	if q.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(q.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if text, err := os.ReadFile("/proc/self/net/udp"); err != nil || bytes.Contains(text, []byte("0100007F:0035")) || time.Now().After(deadline) {
			return errors.Join(err, q.ask())
		}
	}
}

// ask one question, whose name comes again after 4,096, and wait for its answer.
func (q *Questions) ask() error {
	q.asked++
	binary.BigEndian.PutUint16(q.message, uint16(q.asked))
	const digits = "0123456789abcdef"
	for i := range 3 {
		q.message[13+i] = digits[q.asked>>(4*i)&15]
	}
	if err := unix.Sendto(q.socket, q.message, 0, &unix.SockaddrInet4{Port: 53, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	for {
		n, _, err := unix.Recvfrom(q.socket, q.answer, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for an answer of dnsmasq: %w", err)
		}
		if n > len(q.message) && bytes.Equal(q.answer[:2], q.message[:2]) {
			return nil
		}
	}
}

// Run asks, one question after the other.
func (q *Questions) Run(run *Run, r *Result) error {
	return q.do(func() error { return r.measure(run, q.cpu, q.ask) })
}

// cpu of the thread and of dnsmasq.
func (q *Questions) cpu() (time.Duration, error) {
	used, err := threadCPU()
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", q.dnsmasq.Process.Pid)) // in ns
	if err != nil {
		return 0, err
	}
	var server time.Duration
	_, err = fmt.Sscan(string(text), (*int64)(&server))
	return used + server, err
}
