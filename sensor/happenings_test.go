package sensor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/sensor/flow"
	"github.com/netview-project/netview/sensor/libc"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/process"
)

// watcher tells what happens in a namespace.
type watcher struct {
	t     *testing.T
	netns uint64
	*watched
}

// watched is what the kernel tells of all namespaces.
type watched struct {
	began      time.Time // nothing is told of before, but for how clocks are set
	probe      *probe.Probe
	libcs      *libc.Finder
	happenings *happenings
	// cookies is where they come from: a hook at which sockets get theirs is too late
	// for one that is older than the sensor and ends before any table was read.
	cookies string
	mutex   sync.Mutex
	events  []event.Event
}

// in is a watcher of another namespace.
func (w *watcher) in(ns *testns.NS) *watcher { return &watcher{w.t, ns.Inode, w.watched} }

// take makes a snapshot, as a heartbeat does, of a time from now.
func (w *watcher) take(later time.Duration) *event.Snapshot {
	w.t.Helper()
	s := newSnapshots(&Config{Proc: "/proc", Interval: 15 * time.Second}, event.Resource{SensorID: "watcher"}, slog.New(slog.DiscardHandler))
	s.happenings, s.sync = w.happenings, func() { w.probe.Sync(w.t.Context()) }
	s.clock = func() time.Duration { return bootClock() + later }
	f, err := s.take()
	if err != nil {
		w.t.Fatal(err)
	}
	return f.whole()
}

// watchNamespace watches with the real programs until the test ends.
func watchNamespace(t *testing.T, ns *testns.NS) *watcher {
	t.Helper()
	w := &watcher{t, ns.Inode, &watched{began: time.Now().Add(-time.Second)}}
	p := probe.Open(slog.New(slog.NewTextHandler(t.Output(), nil)))
	if !p.Tells() {
		p.Close()
		t.Skipf("no eBPF here: %v", p.Features()[0].Err)
	}
	for _, f := range p.Features() {
		if f.Name == probe.FeatureConnectionID {
			w.cookies = f.Hook
		}
		if f.Err != nil && f.Name != probe.FeatureLSM { // few kernels have it
			t.Errorf("the feature %s is off: %v", f.Name, f.Err)
		}
	}
	h := newHappenings(event.Resource{SensorID: "watcher"}, &process.Table{Proc: "/proc"}, func(events []event.Event) {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		for _, e := range events {
			w.events = append(w.events, cloned(e))
		}
	})
	h.dropped = p.Dropped
	w.probe, w.libcs, w.happenings = p, libc.New("/proc", p, slog.New(slog.DiscardHandler)), h
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Run(ctx, handler(h, w.libcs)); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		for cause, n := range p.Lost() {
			if n > 0 {
				t.Errorf("%d events are lost: %s", n, cause)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// cloned is a copy of an event, whose memory is used again.
func cloned(e event.Event) event.Event {
	copied := reflect.New(reflect.TypeOf(e).Elem())
	copied.Elem().Set(reflect.ValueOf(e).Elem())
	switch c := copied.Interface().(type) {
	case *event.DNSQuery:
		c.Servers, c.Answers, c.AnswerTypes, c.AnswerTTLs = slices.Clone(c.Servers), slices.Clone(c.Answers), slices.Clone(c.AnswerTypes), slices.Clone(c.AnswerTTLs)
	case *event.DNSLookup:
		c.Addresses = slices.Clone(c.Addresses)
	case *event.DNSResolution:
		c.Others = slices.Clone(c.Others)
	}
	return copied.Interface().(event.Event)
}

// said are the events of the namespace, as far as they tell of a port, in words.
// Those of network_listen are apart, since every case has one: [watcher.listens].
func (w *watcher) said(port uint16) (lines []string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	ids, owners := map[uint64]string{}, map[uint64]uint32{}
	// Every record of a socket has its ID and its owner, and no record of another.
	identify := func(id event.Optional[uint64], e *event.Ends, p *event.Process, refused bool) {
		ends := fmt.Sprint(e.SourcePort, e.DestinationPort)
		if !id.Known {
			if !refused {
				w.t.Errorf("an event without connection_id: %+v", *e)
			}
		} else if before := ids[id.Value]; before != "" && before != ends {
			w.t.Errorf("connection_id %d is of %s and of %s", id.Value, before, ends)
		} else {
			ids[id.Value] = ends
			if owner := owners[id.Value]; owner != 0 && owner != p.PID.Value {
				w.t.Errorf("connection_id %d belongs to %d and to %d", id.Value, owner, p.PID.Value)
			}
			owners[id.Value] = p.PID.Value
		}
	}
	for _, e := range w.events {
		switch e := e.(type) {
		case *event.NetworkConnect:
			if e.Netns == w.netns && e.DestinationPort == port {
				identify(e.ConnectionID, &e.Ends, &e.Process, e.Result != event.ResultOK)
				lines = append(lines, w.transport(&e.Ends)+fmt.Sprintf("connect %s %s>%s %s by %s", e.Family, e.SourceAddress, e.DestinationAddress, e.Result, w.by(e.Process)))
			}
		case *event.NetworkAccept:
			if e.Netns == w.netns && e.DestinationPort == port {
				identify(e.ConnectionID, &e.Ends, &e.Process, false)
				lines = append(lines, fmt.Sprintf("accept %s %s>%s by %s", e.Family, e.SourceAddress, e.DestinationAddress, w.by(e.Process)))
			}
		case *event.NetworkFlow:
			if e.Netns == w.netns && e.DestinationPort == port {
				identify(e.ConnectionID, &e.Ends, &e.Process, e.FinalState == event.FinalRefused || e.DurationSource == "" && w.cookies == "cgroup/sock_create")
				lines = append(lines, fmt.Sprintf("flow %s %s %d/%d %s %s by %s, %s", e.Direction, e.SourceAddress, e.BytesSent.Value, e.BytesReceived.Value, e.FinalState, e.FinalDetail, w.by(e.Process), e.DurationSource))
				if e.Duration.Known && (e.Duration.Value < 0 || e.Duration.Value > time.Minute) {
					w.t.Errorf("a duration of %v", e.Duration.Value)
				}
			}
		}
		if at := e.Env().Timestamp; at.Before(w.began) || time.Until(at) > time.Second {
			w.t.Errorf("a %s of %v", e.Kind(), at)
		}
	}
	slices.Sort(lines)
	return lines
}

// transport is a word before what is not TCP.
func (w *watcher) transport(e *event.Ends) string {
	if e.Transport != event.TransportTCP {
		return e.Transport + " "
	}
	return ""
}

// listens are the events of network_listen of the namespace, in words.
func (w *watcher) listens() (lines []string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, e := range w.events {
		if e, is := e.(*event.NetworkListen); is && e.Netns == w.netns {
			lines = append(lines, fmt.Sprintf("listen %s %s:%d backlog %d by %s", e.Family, e.DestinationAddress, e.DestinationPort, e.Backlog.Value, w.by(e.Process)))
		}
	}
	slices.Sort(lines)
	return lines
}

// by names a process: this one as "us".
func (w *watcher) by(p event.Process) string {
	self, _ := os.Executable()
	switch {
	case !p.PID.Known:
		return "nobody"
	case p.PID.Value == uint32(os.Getpid()) && p.Binary == self && p.Name != "" && p.User == "root":
		return "us"
	case p.Binary == "":
		return "a " + p.Name + " that has ended"
	}
	return filepath.Base(p.Binary)
}

// expect waits for exactly these lines.
func (w *watcher) expect(port uint16, want ...string) {
	w.t.Helper()
	w.expectLines(func() []string { return w.said(port) }, want)
}

func (w *watcher) expectLines(said func() []string, want []string) {
	w.t.Helper()
	slices.Sort(want)
	var have []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if have = said(); len(have) >= len(want) {
			break
		}
	}
	time.Sleep(100 * time.Millisecond) // for one that should not come
	if have = said(); !slices.Equal(have, want) {
		w.t.Errorf("told:\n\t%s\nwant:\n\t%s", strings.Join(have, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// meet connects a client to a listener on an address, within a namespace, and
// gives both ends to f.
func meet(t *testing.T, ns *testns.NS, network, listen, dial string, f func(client, server *net.TCPConn) error) (port uint16) {
	t.Helper()
	ns.Do(t, func() error {
		listener, err := net.Listen(network, net.JoinHostPort(listen, "0"))
		if err != nil {
			return err
		}
		defer listener.Close()
		port = uint16(listener.Addr().(*net.TCPAddr).Port)
		client, err := net.Dial(network, net.JoinHostPort(dial, fmt.Sprint(port)))
		if err != nil {
			return err
		}
		defer client.Close()
		server, err := listener.Accept()
		if err != nil {
			return err
		}
		defer server.Close()
		return f(client.(*net.TCPConn), server.(*net.TCPConn))
	})
	return port
}

// talk sends n bytes one way and m back.
func talk(client, server net.Conn, n, m int) error {
	for _, way := range []struct {
		from, to net.Conn
		bytes    int
	}{{client, server, n}, {server, client, m}} {
		if _, err := way.from.Write(make([]byte, way.bytes)); err != nil {
			return err
		}
		if _, err := io.ReadFull(way.to, make([]byte, way.bytes)); err != nil {
			return err
		}
	}
	return nil
}

// closeThen closes one end, and the other when it has seen that.
func closeThen(first, second net.Conn) error {
	err := first.Close()
	_, _ = second.Read(make([]byte, 1)) // the FIN
	return errors.Join(err, second.Close())
}

// TestHappenings does things with TCP in a namespace of its own, and expects
// exactly what the kernel's programs should tell of them.
func TestHappenings(t *testing.T) {
	testns.SkipUnlessRoot(t)
	ns, other := testns.New(t), testns.New(t)
	here, there := testns.Pair(t, ns, other, 9)
	other.SetEphemeralPorts(t, 20_000, 29_999) // what is said of a port must not be of both
	w := watchNamespace(t, ns)

	const accepted = "accept ipv4 127.0.0.1>127.0.0.1 by us"
	for _, c := range []struct{ name, network, listen, dial, family, address string }{
		{"IPv4", "tcp4", "127.0.0.1", "127.0.0.1", "ipv4", "127.0.0.1"},
		{"IPv6", "tcp6", "::1", "::1", "ipv6", "::1"},
		{"IPv4 to a socket of both", "tcp", "::", "127.0.0.1", "ipv4", "127.0.0.1"},
	} {
		t.Run("closed by the client, "+c.name, func(t *testing.T) {
			w.t = t
			port := meet(t, ns, c.network, c.listen, c.dial, func(client, server *net.TCPConn) error {
				return errors.Join(talk(client, server, 1000, 70_000), closeThen(client, server))
			})
			w.expect(port, fmt.Sprintf("connect %s %s>%[2]s ok by us", c.family, c.address), fmt.Sprintf("accept %s %s>%[2]s by us", c.family, c.address),
				fmt.Sprintf("flow outbound %s 1000/70000 established fin by us, connect", c.address), fmt.Sprintf("flow inbound %s 70000/1000 established fin by us, accept", c.address))
		})
	}
	t.Run("an accept that was waiting before the sensor started", func(t *testing.T) {
		port, client := uint16(0), (net.Conn)(nil)
		done := make(chan error, 1)
		ns.Do(t, func() error {
			listener, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				return err
			}
			port = uint16(listener.Addr().(*net.TCPAddr).Port)
			file, err := listener.(*net.TCPListener).File() // in blocking mode
			if err != nil {
				return err
			}
			go func() {
				defer listener.Close()
				defer file.Close()
				fd, _, err := unix.Accept4(int(file.Fd()), unix.SOCK_CLOEXEC)
				done <- errors.Join(err, unix.Close(fd))
			}()
			return nil
		})
		time.Sleep(50 * time.Millisecond)
		later := watchNamespace(t, ns)
		ns.Do(t, func() (err error) {
			client, err = net.Dial("tcp4", fmt.Sprint("127.0.0.1:", port))
			return err
		})
		if err := errors.Join(<-done, client.Close()); err != nil {
			t.Fatal(err)
		}
		later.expect(port, "connect ipv4 127.0.0.1>127.0.0.1 ok by us", accepted,
			"flow outbound 127.0.0.1 0/0 established fin by us, connect", "flow inbound 127.0.0.1 0/0 established fin by us, accept")
	})
	t.Run("an IPv4-mapped address", func(t *testing.T) {
		w.t = t
		var port uint16
		ns.Do(t, func() error {
			listener, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer listener.Close()
			port = uint16(listener.Addr().(*net.TCPAddr).Port)
			fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			err = unix.Connect(fd, &unix.SockaddrInet6{Port: int(port), Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}})
			server, acceptErr := listener.Accept()
			return errors.Join(err, acceptErr, unix.Close(fd), server.Close())
		})
		w.expect(port, "connect ipv4 127.0.0.1>127.0.0.1 ok by us", accepted, "flow outbound 127.0.0.1 0/0 established fin by us, connect", "flow inbound 127.0.0.1 0/0 established fin by us, accept")
	})
	for name, c := range map[string]struct {
		end  func(client, server *net.TCPConn) error
		want [2]string // of the client's flow and of the server's
	}{
		"closed by the server": {func(client, server *net.TCPConn) error { return closeThen(server, client) }, [2]string{"established fin", "established fin"}},
		"reset by the client": {func(client, server *net.TCPConn) error {
			err := errors.Join(client.SetLinger(0), client.Close())
			_, _ = server.Read(make([]byte, 1))
			return err
		}, [2]string{"established reset_locally", "established reset_by_peer"}},
		"reset by the server": {func(client, server *net.TCPConn) error {
			err := errors.Join(server.SetLinger(0), server.Close())
			_, _ = client.Read(make([]byte, 1))
			return err
		}, [2]string{"established reset_by_peer", "established reset_locally"}},
		"half closed, then reset by the server": {func(client, server *net.TCPConn) error {
			err := client.CloseWrite()
			_, _ = server.Read(make([]byte, 1))
			err = errors.Join(err, server.SetLinger(0), server.Close())
			_, _ = client.Read(make([]byte, 1))
			return err
		}, [2]string{"established reset_by_peer", "half-closed reset_locally"}},
		"half closed, and closed in good order": {func(client, server *net.TCPConn) error {
			err := client.CloseWrite()
			_, _ = server.Read(make([]byte, 1))
			return errors.Join(err, server.Close())
		}, [2]string{"established fin", "established fin"}},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			port := meet(t, ns, "tcp4", "127.0.0.1", "127.0.0.1", func(client, server *net.TCPConn) error {
				return errors.Join(talk(client, server, 10, 20), c.end(client, server))
			})
			w.expect(port, "connect ipv4 127.0.0.1>127.0.0.1 ok by us", accepted,
				"flow outbound 127.0.0.1 10/20 "+c.want[0]+" by us, connect", "flow inbound 127.0.0.1 20/10 "+c.want[1]+" by us, accept")
		})
	}

	// attempt connects to where nobody answers.
	// It returns what connect(2) returned.
	attempt := func(t *testing.T, address unix.Sockaddr, nonblocking bool) (errno error) {
		t.Helper()
		ns.Do(t, func() error {
			flags := unix.SOCK_STREAM
			if nonblocking {
				flags |= unix.SOCK_NONBLOCK
			}
			fd, err := unix.Socket(unix.AF_INET, flags, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if errno = unix.Connect(fd, address); errno == nil {
				return errors.New("somebody answers")
			} else if errno == unix.EINPROGRESS {
				time.Sleep(10 * time.Millisecond)
			}
			return nil
		})
		return errno
	}
	// Addresses beyond the other namespace, which forwards nothing and says so to
	// nobody; and such as should be on the link, where nobody has them.
	ns.Do(t, func() error {
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv4/tcp_syn_retries", []byte("1"), 0),
			exec.Command("ip", "route", "add", "10.214.0.0/24", "via", there.String()).Run(),
			exec.Command("ip", "route", "add", "10.215.0.0/24", "dev", "va9").Run())
	})
	for name, c := range map[string]struct {
		address     [4]byte
		port        int
		nonblocking bool
		source      string
		result      string
	}{
		"refused":              {[4]byte{127, 0, 0, 1}, 1, false, "127.0.0.1", "refused"},
		"without a route":      {[4]byte{192, 0, 2, 1}, 2, false, "0.0.0.0", "unreachable"},
		"no answer":            {[4]byte{10, 214, 0, 1}, 3, false, here.String(), "timed_out"},
		"nobody on the link":   {[4]byte{10, 215, 0, 1}, 4, false, here.String(), ""}, // by the kernel, timed_out or unreachable
		"broadcast":            {[4]byte{255, 255, 255, 255}, 8, false, "0.0.0.0", "unreachable"},
		"given up":             {[4]byte{10, 214, 0, 1}, 5, true, here.String(), "aborted"},
		"refused, nonblocking": {[4]byte{127, 0, 0, 1}, 6, true, "127.0.0.1", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			errno := attempt(t, &unix.SockaddrInet4{Port: c.port, Addr: c.address}, c.nonblocking)
			if c.result == "" {
				c.result = flow.Result(uint32(errno.(unix.Errno)))
			}
			to := net.IP(c.address[:]).String()
			w.expect(uint16(c.port), fmt.Sprintf("connect ipv4 %s>%s %s by us", c.source, to, c.result), fmt.Sprintf("flow outbound %s 0/0 refused %s by us, connect", c.source, c.result))
		})
	}

	// shell runs bash with a connection to us, of which it sends 3 bytes and reads
	// 2; what it does before that follows on the connection.
	shell := func(t *testing.T, before string, linger time.Duration) (port uint16) {
		t.Helper()
		ns.Do(t, func() error {
			listener, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer listener.Close()
			port = uint16(listener.Addr().(*net.TCPAddr).Port)
			command := exec.Command("bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d; printf abc >&3; %s", port, before))
			if err := command.Start(); err != nil {
				return err
			}
			server, err := listener.Accept()
			if err != nil {
				return err
			}
			_, err = io.ReadFull(server, make([]byte, 3))
			time.Sleep(linger)
			_, written := server.Write([]byte("xy"))
			return errors.Join(err, written, command.Wait(), server.Close())
		})
		return port
	}
	inbound := "flow inbound 127.0.0.1 2/3 established fin by us, accept"
	t.Run("a process that ends before anybody looks", func(t *testing.T) {
		w.t = t
		port := shell(t, "read -n 2 <&3", 0)
		// It may have been quick enough that only its name is known.
		w.expectLines(func() (lines []string) {
			for _, line := range w.said(port) {
				lines = append(lines, strings.Replace(line, "a bash that has ended", "bash", 1))
			}
			return lines
		}, []string{"connect ipv4 127.0.0.1>127.0.0.1 ok by bash", "flow outbound 127.0.0.1 3/2 established fin by bash, connect", accepted, inbound})
	})
	t.Run("a process that has ended", func(t *testing.T) {
		w.t = t
		port := shell(t, "read -n 2 <&3", 300*time.Millisecond)
		w.expect(port, "connect ipv4 127.0.0.1>127.0.0.1 ok by bash", "flow outbound 127.0.0.1 3/2 established fin by bash, connect", accepted, inbound)
	})
	t.Run("a process that has become another program", func(t *testing.T) {
		w.t = t
		port := shell(t, "sleep 0.2; exec head -c 2 <&3 >/dev/null", 300*time.Millisecond)
		w.expect(port, "connect ipv4 127.0.0.1>127.0.0.1 ok by bash", "flow outbound 127.0.0.1 3/2 established fin by bash, connect", accepted, inbound)
	})
}
