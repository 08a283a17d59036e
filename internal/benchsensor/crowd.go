package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/netview-project/netview/internal/testns"
)

// holders is how many processes hold the sockets, a listener each. That is so
// few connections to one port that the ephemeral ports last.
const holders = 50

// share of the connections that a holder opens.
func share(connections, holder int) int {
	n := connections / holders
	if holder < connections%holders {
		n++
	}
	return n
}

// crowd is processes that live until they are stopped.
type crowd struct {
	processes []*exec.Cmd
	alive     *os.File // its end tells them that this process has ended, however it did
}

// start returns when all are ready. The crowd has to be stopped in any case.
func start(ctx context.Context, n int, cloneflags uintptr, arguments func(int) []string) (c *crowd, err error) {
	c = &crowd{}
	stdin, alive, err := os.Pipe()
	if err != nil {
		return c, err
	}
	c.alive = alive
	defer stdin.Close()
	ready := make([]io.Reader, n)
	for i := range n {
		cmd := exec.CommandContext(ctx, os.Args[0], arguments(i)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: cloneflags}
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1") // hundreds of them are to cost little
		cmd.Stdin, cmd.Stderr = stdin, os.Stderr
		if ready[i], err = cmd.StdoutPipe(); err != nil {
			return c, err
		}
		if err := cmd.Start(); err != nil {
			return c, err
		}
		c.processes = append(c.processes, cmd)
	}
	for _, r := range ready {
		if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
			return c, fmt.Errorf("a process ended early: %w", err)
		}
	}
	return c, nil
}

func (c *crowd) stop() {
	if c.alive != nil {
		c.alive.Close()
	}
	for _, cmd := range c.processes {
		_ = cmd.Process.Kill()
	}
	for _, cmd := range c.processes {
		_ = cmd.Wait()
	}
}

// stay says that the process is ready, and returns when it shall end.
func stay() error {
	if _, err := os.Stdout.Write([]byte{'\n'}); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// idle is a process that has a few files open and does nothing.
func idle() error {
	for range 4 {
		file, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		defer file.Close()
	}
	return stay()
}

// apart is a process that listens in a namespace of its own, as in a container.
func apart() error {
	if err := testns.LoopbackUp(); err != nil {
		return err
	}
	return hold("0")
}

// hold is a process that has a listener, and both ends of some connections.
func hold(connections string) error {
	n, err := strconv.Atoi(connections)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	for range n {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer client.Close()
		server, err := listener.Accept()
		if err != nil {
			return err
		}
		defer server.Close()
		for _, c := range []net.Conn{client, server} {
			// No TIME_WAIT shall be left for the next measurement.
			if err := c.(*net.TCPConn).SetLinger(0); err != nil {
				return err
			}
		}
	}
	return stay()
}

// count counts what every reader has to look through.
func count() (processes, threads int, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, 0, err
	}
	for _, path := range paths {
		tasks, err := os.ReadDir(path + "/task")
		if err != nil {
			continue // it has ended
		}
		processes, threads = processes+1, threads+len(tasks)
	}
	return processes, threads, nil
}
