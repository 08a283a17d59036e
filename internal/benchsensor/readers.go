package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor"
	"github.com/netview-project/netview/sensor/deliver"
)

// read is a process that collects with one of the readers in Go, and prints its
// result.
func read(name string) error {
	var r result
	var collect func() error
	var err error
	switch name {
	case "netview":
		collect, err = netview(&r)
	case "procfs":
		collect, err = peer(&r)
	default:
		err = fmt.Errorf("there is no reader %q", name)
	}
	if err != nil {
		return err
	}
	for i := range 2 * perRound {
		took, err := costOf(collect)
		if err != nil {
			return err
		}
		switch {
		case i == 0:
			r.First = took
		case i >= perRound: // those before it are not yet the steady state of a daemon
			r.Cost.Wall += took.Wall / perRound
			r.Cost.CPU += took.CPU / perRound
		}
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func costOf(collect func() error) (c cost, err error) {
	cpu, began := used(), time.Now()
	err = collect()
	return cost{Wall: time.Since(began), CPU: used() - cpu}, err
}

// used is what all threads of this process have used, the garbage collector's
// with them.
func used() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err) // it fails for a wrong argument only
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// netview collects as the sensor does at a heartbeat.
func netview(r *result) (func() error, error) {
	var here unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &here); err != nil {
		return nil, err
	}
	s, err := sensor.New(sensor.Config{SensorID: "bench", Interval: 15 * time.Second, Proc: "/proc", Spool: deliver.DefaultOptions()}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return func() error {
		snapshot, err := s.Take()
		if err != nil {
			return err
		}
		r.Seen, r.Namespaces = seen{}, int(snapshot.Heartbeat.Namespaces)
		for _, c := range snapshot.Connections {
			if c.Netns == here.Ino && c.State == "established" {
				r.Seen.add(&r.Seen.Established, c.Process.PID.Known && c.Process.Name != "" && c.Process.Binary != "")
			}
		}
		for _, l := range snapshot.Listeners {
			if l.Netns == here.Ino && l.Transport == "tcp" {
				r.Seen.add(&r.Seen.Listening, l.Process.PID.Known && l.Process.Name != "" && l.Process.Binary != "")
			}
		}
		return nil
	}, nil
}

// owner is a process that has sockets.
type owner struct {
	pid              int
	executable, comm string
}

// peer collects the same of this namespace with prometheus/procfs, in the way
// that its API suggests.
func peer(r *result) (func() error, error) {
	proc, err := procfs.NewFS("/proc")
	if err != nil {
		return nil, err
	}
	return func() error {
		tcp, err := proc.NetTCP()
		if err != nil {
			return err
		}
		tcp6, err := proc.NetTCP6()
		if err != nil {
			return err
		}
		if _, err := proc.NetUDP(); err != nil {
			return err
		}
		if _, err := proc.NetUDP6(); err != nil {
			return err
		}
		owners, err := peerOwners(proc)
		if err != nil {
			return err
		}
		r.Seen, r.Namespaces = seen{}, 1
		for _, table := range []procfs.NetTCP{tcp, tcp6} {
			for _, line := range table {
				o := owners[line.Inode]
				owned := o != nil && o.comm != "" && o.executable != ""
				switch line.St {
				case unix.BPF_TCP_ESTABLISHED:
					r.Seen.add(&r.Seen.Established, owned)
				case unix.BPF_TCP_LISTEN:
					r.Seen.add(&r.Seen.Listening, owned)
				}
			}
		}
		return nil
	}, nil
}

func peerOwners(proc procfs.FS) (map[uint64]*owner, error) {
	processes, err := proc.AllProcs()
	if err != nil {
		return nil, err
	}
	owners := map[uint64]*owner{}
	for _, process := range processes {
		targets, err := process.FileDescriptorTargets()
		if err != nil {
			continue // it has ended
		}
		var is *owner
		for _, target := range targets {
			text, isSocket := strings.CutPrefix(target, "socket:[")
			if !isSocket {
				continue
			}
			inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64)
			if err != nil {
				return nil, err
			}
			if is == nil {
				is = &owner{pid: process.PID}
				is.executable, _ = process.Executable()
				is.comm, _ = process.Comm()
			}
			owners[inode] = is
		}
	}
	return owners, nil
}

// runSS runs ss as often as the others collect. Its start is part of its cost:
// there is no other way to use it.
func runSS(ctx context.Context, path string) (r result, err error) {
	r.Namespaces = 1
	out, err := exec.CommandContext(ctx, path, "-tunap").Output()
	if err != nil {
		return r, err
	}
	for line := range bytes.Lines(out) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 || fields[0] != "tcp" {
			continue
		}
		owned := bytes.Contains(line, []byte(",pid="))
		switch fields[1] {
		case "ESTAB":
			r.Seen.add(&r.Seen.Established, owned)
		case "LISTEN":
			r.Seen.add(&r.Seen.Listening, owned)
		}
	}
	for range perRound {
		cmd := exec.CommandContext(ctx, path, "-tunap") // without Stdout: to /dev/null
		began := time.Now()
		if err := cmd.Run(); err != nil {
			return r, err
		}
		r.Cost.Wall += time.Since(began) / perRound
		r.Cost.CPU += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()) / perRound
	}
	return r, nil
}

// add counts a socket.
func (s *seen) add(of *int, owned bool) {
	*of++
	if owned {
		s.Owned++
	}
}
