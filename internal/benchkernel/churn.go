package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
)

func startChurn() (*load, error) { return startLoad("churn", "Churn.Run") }

// hold makes connections that stay until the process ends.
func (l *load) hold(n int) error { return l.Call("Churn.Hold", n, &struct{}{}) }

// Churn is what the process answers to. Its calls are made one at a time.
type Churn struct {
	thread
	listener int
	open     []int // descriptors that are held
}

// churnPort is listened on.
const churnPort = 9999

func serveChurn() error {
	c := &Churn{thread: startThread()}
	if err := c.do(c.begin); err != nil {
		return err
	}
	return serve(c)
}

func (c *Churn) begin() error {
	if err := errors.Join(testns.LoopbackUp(), pin(0, churnCore)); err != nil {
		return err
	}
	// Else the ports of those who closed first would be taken for a minute.
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_max_tw_buckets", []byte("0"), 0); err != nil {
		return err
	}
	var err error
	if c.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	return errors.Join(unix.Bind(c.listener, &unix.SockaddrInet4{Port: churnPort}), unix.Listen(c.listener, 1024))
}

// Run makes connections and closes each at both ends.
func (c *Churn) Run(run *Run, r *Result) error {
	return c.do(func() error {
		return r.measure(run, threadCPU, func() error {
			client, server, err := c.connect()
			if err != nil {
				return err
			}
			unix.Close(client)
			unix.Close(server)
			return nil
		})
	})
}

// connect makes one connection over loopback.
func (c *Churn) connect() (client, server int, err error) {
	if client, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, 0, err
	}
	to := &unix.SockaddrInet4{Port: churnPort, Addr: [4]byte{127, 0, 0, 1}}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Connect(client, to)
	}
	if err == nil || err == unix.EISCONN {
		for err = unix.EINTR; err == unix.EINTR; {
			server, _, err = unix.Accept4(c.listener, unix.SOCK_CLOEXEC)
		}
	}
	return client, server, err
}

// Hold makes connections that stay.
func (c *Churn) Hold(n int, _ *struct{}) error {
	limit := unix.Rlimit{Cur: uint64(2*n + 100), Max: uint64(2*n + 100)}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("setting the number of files to %d: %w", limit.Cur, err)
	}
	return c.do(func() error {
		for range n {
			client, server, err := c.connect()
			if err != nil {
				return err
			}
			c.open = append(c.open, client, server)
		}
		return nil
	})
}
