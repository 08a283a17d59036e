package main

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
)

// churn makes connections. It is a process of its own, so that the thread which
// makes them waits for no other goroutine, in a network namespace of its own.
type churn struct {
	*rpc.Client
	process *exec.Cmd
	netns   uint64 // inode
}

// pipe is the way to and from the process.
type pipe struct {
	io.ReadCloser
	io.WriteCloser
}

func (p pipe) Close() error { return errors.Join(p.ReadCloser.Close(), p.WriteCloser.Close()) }

func startChurn() (*churn, error) {
	process := exec.Command("/proc/self/exe", "churn")
	process.Stderr = os.Stderr
	process.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	in, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, fmt.Errorf("starting the process of the connections: %w", err)
	}
	c := &churn{Client: rpc.NewClient(pipe{out, in}), process: process}
	var stat unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", process.Process.Pid), &stat); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	c.netns = stat.Ino
	return c, nil
}

func (c *churn) stop() error { return errors.Join(c.Close(), c.process.Wait()) }

// run makes connections for a time, at most rate in a second (0: as many as it
// can), and closes each at both ends.
func (c *churn) run(length time.Duration, rate int) (r Result, err error) {
	err = c.Call("Churn.Run", &Run{length, rate}, &r)
	return r, err
}

// hold makes connections that stay until the process ends.
func (c *churn) hold(n int) error { return c.Call("Churn.Hold", n, &struct{}{}) }

// Churn is what the process answers to. Its calls are made one at a time.
type Churn struct {
	tasks    chan func() error
	done     chan error
	listener int
	open     []int // descriptors that are held
}

// churnPort is listened on.
const churnPort = 9999

// serveChurn answers on standard input and output until the input ends.
func serveChurn() error {
	c := &Churn{tasks: make(chan func() error), done: make(chan error)}
	go func() {
		runtime.LockOSThread()
		c.done <- c.begin()
		for task := range c.tasks {
			c.done <- task()
		}
	}()
	if err := <-c.done; err != nil {
		return err
	}
	if err := rpc.Register(c); err != nil {
		return err
	}
	rpc.ServeConn(pipe{os.Stdin, os.Stdout})
	return nil
}

func (c *Churn) do(task func() error) error {
	c.tasks <- task
	return <-c.done
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

// Run is what [Churn.Run] is asked for.
type Run struct {
	Length time.Duration
	Rate   int
}

// Result of a run.
type Result struct {
	Connections int
	Took        time.Duration
	// CPU of the thread, which does the work of the kernel for both ends too. Other
	// load on the machine changes it far less than the time that passes.
	CPU time.Duration
}

func (r Result) rate() float64 { return float64(r.Connections) / r.Took.Seconds() }

// each is the CPU of a connection, in ns.
func (r Result) each() float64 { return float64(r.CPU.Nanoseconds()) / float64(r.Connections) }

// Run makes connections and closes each at both ends.
func (c *Churn) Run(run *Run, r *Result) error {
	return c.do(func() error {
		used, err := threadCPU()
		if err != nil {
			return err
		}
		began := time.Now()
		for time.Since(began) < run.Length {
			if run.Rate > 0 {
				if due := began.Add(time.Duration(r.Connections) * time.Second / time.Duration(run.Rate)); time.Until(due) > 0 {
					time.Sleep(time.Until(due))
				}
			}
			client, server, err := c.connect()
			if err != nil {
				return err
			}
			unix.Close(client)
			unix.Close(server)
			r.Connections++
		}
		r.Took = time.Since(began)
		r.CPU, err = threadCPU()
		r.CPU -= used
		return err
	})
}

func threadCPU() (time.Duration, error) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
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
