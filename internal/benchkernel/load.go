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
)

// load makes what is watched. It is a process of its own, so that the thread which
// makes it waits for no other goroutine, in a network namespace of its own.
type load struct {
	*rpc.Client
	process *exec.Cmd
	netns   uint64 // inode
	method  string // of the process, that makes it
}

// pipe is the way to and from the process.
type pipe struct {
	io.ReadCloser
	io.WriteCloser
}

func (p pipe) Close() error { return errors.Join(p.ReadCloser.Close(), p.WriteCloser.Close()) }

// startLoad starts this program's other command, which answers to the method.
func startLoad(command, method string) (*load, error) {
	process := exec.Command("/proc/self/exe", command)
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
		return nil, fmt.Errorf("starting %s: %w", command, err)
	}
	l := &load{Client: rpc.NewClient(pipe{out, in}), process: process, method: method}
	var stat unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", process.Process.Pid), &stat); err != nil {
		return nil, errors.Join(err, l.stop())
	}
	l.netns = stat.Ino
	return l, nil
}

func (l *load) stop() error { return errors.Join(l.Close(), l.process.Wait()) }

// run makes it for a time, at most rate in a second (0: as many as it can).
func (l *load) run(length time.Duration, rate int) (r Result, err error) {
	err = l.Call(l.method, &Run{length, rate}, &r)
	return r, err
}

// thread does what it is given, one at a time, and shares its time with no goroutine.
type thread struct {
	tasks chan func() error
	done  chan error
}

func startThread() thread {
	t := thread{make(chan func() error), make(chan error)}
	go func() {
		runtime.LockOSThread()
		for task := range t.tasks {
			t.done <- task()
		}
	}()
	return t
}

func (t thread) do(task func() error) error {
	t.tasks <- task
	return <-t.done
}

// serve the exported methods on standard input and output until the input ends.
func serve(methods any) error {
	if err := rpc.Register(methods); err != nil {
		return err
	}
	rpc.ServeConn(pipe{os.Stdin, os.Stdout})
	return nil
}

// Run is what a load is asked for.
type Run struct {
	Length time.Duration
	Rate   int
}

// Result of a run.
type Result struct {
	Count int
	Took  time.Duration
	// CPU of the thread, which does the work of the kernel for both ends too, and of a
	// server that has it. Other load on the machine changes it far less than the time
	// that passes.
	CPU time.Duration
}

func (r Result) rate() float64 { return float64(r.Count) / r.Took.Seconds() }

// each is the CPU of one, in ns.
func (r Result) each() float64 { return float64(r.CPU.Nanoseconds()) / float64(r.Count) }

// measure makes one after another, as the run says.
func (r *Result) measure(run *Run, cpu func() (time.Duration, error), one func() error) error {
	used, err := cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	for time.Since(began) < run.Length {
		if run.Rate > 0 {
			if due := began.Add(time.Duration(r.Count) * time.Second / time.Duration(run.Rate)); time.Until(due) > 0 {
				time.Sleep(time.Until(due))
			}
		}
		if err := one(); err != nil {
			return err
		}
		r.Count++
	}
	r.Took = time.Since(began)
	r.CPU, err = cpu()
	r.CPU -= used
	return err
}

func threadCPU() (time.Duration, error) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
