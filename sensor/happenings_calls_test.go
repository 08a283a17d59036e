package sensor

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/probe/uring"
)

// TestListen: one event for each socket that begins to listen, with its address
// and its backlog.
func TestListen(t *testing.T) {
	ns := testns.New(t)
	w := watchNamespace(t, ns)
	ns.Do(t, func() error {
		listen := func(family int, address unix.Sockaddr, backlog int, reuse bool) error {
			fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			t.Cleanup(func() { unix.Close(fd) })
			if reuse {
				err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
			return errors.Join(err, unix.Bind(fd, address), unix.Listen(fd, backlog),
				unix.Listen(fd, backlog+1)) // which changes the backlog, and no state
		}
		return errors.Join(
			listen(unix.AF_INET, &unix.SockaddrInet4{Port: 81, Addr: [4]byte{127, 0, 0, 1}}, 5, false),
			listen(unix.AF_INET, &unix.SockaddrInet4{Port: 82}, 6, false),
			listen(unix.AF_INET6, &unix.SockaddrInet6{Port: 83}, 7, false),
			listen(unix.AF_INET6, &unix.SockaddrInet6{Port: 84, Addr: [16]byte{15: 1}}, 1<<20, false), // more than somaxconn
			listen(unix.AF_INET, &unix.SockaddrInet4{Port: 85}, 8, true),
			listen(unix.AF_INET, &unix.SockaddrInet4{Port: 85}, 9, true))
	})
	w.expectLines(w.listens, []string{
		"listen ipv4 127.0.0.1:81 backlog 5 by us",
		"listen ipv4 0.0.0.0:82 backlog 6 by us",
		"listen ipv6 :::83 backlog 7 by us",
		"listen ipv6 ::1:84 backlog 4096 by us",
		"listen ipv4 0.0.0.0:85 backlog 8 by us",
		"listen ipv4 0.0.0.0:85 backlog 9 by us",
	})
}

// TestUDPConnect: a connected socket counts with its first datagram.
func TestUDPConnect(t *testing.T) {
	ns := testns.New(t)
	w := watchNamespace(t, ns)
	v4 := func(port int) unix.Sockaddr { return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}} }
	mapped := func(port int) unix.Sockaddr {
		return &unix.SockaddrInet6{Port: port, Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}}
	}
	send := func(fd int) error { return unix.Sendto(fd, []byte("x"), 0, nil) }
	for name, c := range map[string]struct {
		family int
		do     func(fd, port int) error
		want   []string
	}{
		"connected, and nothing sent":    {unix.AF_INET, func(fd, port int) error { return unix.Connect(fd, v4(port)) }, nil},
		"connected, and three datagrams": {unix.AF_INET, func(fd, port int) error { return errors.Join(unix.Connect(fd, v4(port)), send(fd), send(fd), send(fd)) }, []string{"udp connect ipv4 127.0.0.1>127.0.0.1 ok by us"}},
		"sent by write":                  {unix.AF_INET, func(fd, port int) error { _, err := unix.Write(fd, []byte("x")); return errors.Join(err) }, nil},
		"connected, and sent by write": {unix.AF_INET, func(fd, port int) error {
			err := unix.Connect(fd, v4(port))
			_, written := unix.Write(fd, []byte("x"))
			return errors.Join(err, written)
		}, []string{"udp connect ipv4 127.0.0.1>127.0.0.1 ok by us"}},
		"not connected": {unix.AF_INET, func(fd, port int) error { return unix.Sendto(fd, []byte("x"), 0, v4(port)) }, nil},
		"connected again to the same": {unix.AF_INET, func(fd, port int) error {
			return errors.Join(unix.Connect(fd, v4(port)), send(fd), unix.Connect(fd, v4(port)), send(fd))
		}, []string{"udp connect ipv4 127.0.0.1>127.0.0.1 ok by us"}},
		"connected to another, and back": {unix.AF_INET, func(fd, port int) error {
			return errors.Join(unix.Connect(fd, v4(port)), send(fd), unix.Connect(fd, v4(port+1)), send(fd), unix.Connect(fd, v4(port)), send(fd))
		}, []string{"udp connect ipv4 127.0.0.1>127.0.0.1 ok by us", "udp connect ipv4 127.0.0.1>127.0.0.1 ok by us"}},
		"IPv6": {unix.AF_INET6, func(fd, port int) error {
			return errors.Join(unix.Connect(fd, &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}), send(fd))
		}, []string{"udp connect ipv6 ::1>::1 ok by us"}},
		"an IPv4-mapped address":            {unix.AF_INET6, func(fd, port int) error { return errors.Join(unix.Connect(fd, mapped(port)), send(fd)) }, []string{"udp connect ipv4 127.0.0.1>127.0.0.1 ok by us"}},
		"to the port of a resolver, unsent": {unix.AF_INET, func(fd, _ int) error { return unix.Connect(fd, v4(53)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			port := 0
			ns.Do(t, func() error {
				first, err := net.ListenPacket("udp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				defer first.Close()
				port = first.LocalAddr().(*net.UDPAddr).Port
				for _, address := range []string{fmt.Sprint("127.0.0.1:", port+1), fmt.Sprint("[::1]:", port)} {
					other, err := net.ListenPacket("udp", address)
					if err != nil {
						return err
					}
					defer other.Close()
				}
				fd, err := unix.Socket(c.family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				if err := c.do(fd, port); err != nil && !(errors.Is(err, unix.EDESTADDRREQ) && c.want == nil) {
					return err
				}
				return nil
			})
			w.expect(uint16(port), c.want...)
		})
	}
}

// TestUring: what goes through io_uring is told like anything else.
func TestUring(t *testing.T) {
	ns := testns.New(t)
	ring, err := uring.New()
	if err != nil {
		t.Skipf("no io_uring here: %v", err)
	}
	ring.Close()
	w := watchNamespace(t, ns)
	const accepted, outbound, inbound = "accept ipv4 127.0.0.1>127.0.0.1 by us", "flow outbound 127.0.0.1 0/0 established fin by us, connect", "flow inbound 127.0.0.1 0/0 established fin by us, accept"
	const connected = "connect ipv4 127.0.0.1>127.0.0.1 ok by us"
	for name, multishot := range map[string]bool{"accept": false, "multishot accept": true} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			var port uint16
			refused := false
			ns.Do(t, func() error {
				ring, err := uring.New()
				if err != nil {
					return err
				}
				defer ring.Close()
				listener, err := net.Listen("tcp4", "127.0.0.1:0")
				if err != nil {
					return err
				}
				defer listener.Close()
				port = uint16(listener.Addr().(*net.TCPAddr).Port)
				file, err := listener.(*net.TCPListener).File()
				if err != nil {
					return err
				}
				defer file.Close()
				begun := ring.StartAccept(int(file.Fd()), multishot)
				client, err := net.Dial("tcp4", listener.Addr().String())
				if err := errors.Join(begun, err); err != nil {
					return err
				}
				server, err := ring.Accepted()
				if multishot && err == unix.EINVAL {
					refused = true
					return client.Close()
				}
				return errors.Join(err, unix.Close(server), client.Close())
			})
			if refused {
				t.Skip("a multishot accept takes Linux 5.19")
			}
			// The server closes first.
			w.expect(port, connected, accepted, outbound, inbound)
		})
	}
	for name, c := range map[string]struct {
		listens bool
		want    []string
	}{
		"connect":         {true, []string{connected, accepted, outbound, inbound}},
		"refused connect": {false, []string{"connect ipv4 127.0.0.1>127.0.0.1 refused by us", "flow outbound 127.0.0.1 0/0 refused refused by us, connect"}},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			port := 7
			ns.Do(t, func() error {
				ring, err := uring.New()
				if err != nil {
					return err
				}
				defer ring.Close()
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					return err
				}
				if !c.listens {
					err := ring.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
					if err != unix.ECONNREFUSED {
						return fmt.Errorf("connecting to nobody gives %v", err)
					}
					return unix.Close(fd)
				}
				listener, err := net.Listen("tcp4", "127.0.0.1:0")
				if err != nil {
					return err
				}
				defer listener.Close()
				port = listener.Addr().(*net.TCPAddr).Port
				err = ring.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
				server, acceptErr := listener.Accept()
				if err := errors.Join(err, acceptErr); err != nil {
					return err
				}
				err = unix.Close(fd)
				_, _ = server.Read(make([]byte, 1))
				return errors.Join(err, server.Close())
			})
			w.expect(uint16(port), c.want...)
		})
	}
}

// TestLSM: the hook of the LSM sees each attempt, whatever becomes of it.
func TestLSM(t *testing.T) {
	ns := testns.New(t)
	w := watchNamespace(t, ns)
	for _, f := range w.probe.Features() {
		if f.Name == probe.FeatureLSM && f.Err != nil {
			t.Skipf("this kernel has no such hook: %v", f.Err)
		}
	}
	ns.Do(t, func() error {
		for family, addresses := range map[int][]unix.Sockaddr{
			unix.AF_INET:  {&unix.SockaddrInet4{Port: 81, Addr: [4]byte{127, 0, 0, 1}}, &unix.SockaddrInet4{Port: 82, Addr: [4]byte{192, 0, 2, 1}}},
			unix.AF_INET6: {&unix.SockaddrInet6{Port: 83, Addr: [16]byte{15: 1}}, &unix.SockaddrInet6{Port: 84, Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}}},
		} {
			for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
				for _, address := range addresses {
					fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
					if err != nil {
						return err
					}
					_ = unix.Connect(fd, address) // nobody is there
					unix.Close(fd)
				}
			}
		}
		return nil
	})
	var want []string
	for _, transport := range []string{"tcp", "udp"} {
		for _, to := range []string{"ipv4 127.0.0.1:81", "ipv4 192.0.2.1:82", "ipv6 ::1:83", "ipv4 127.0.0.1:84"} {
			want = append(want, fmt.Sprintf("%s %s by us", transport, to))
		}
	}
	w.expectLines(func() (lines []string) {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		for _, e := range w.events {
			if e, is := e.(*event.LSMNetConnect); is && e.Netns == w.netns {
				lines = append(lines, strings.Join([]string{e.Transport, e.Family, fmt.Sprintf("%s:%d", e.DestinationAddress, e.DestinationPort), "by", w.by(e.Process)}, " "))
				if !e.ConnectionID.Known {
					t.Errorf("no connection_id: %+v", e)
				}
			}
		}
		slices.Sort(lines)
		return lines
	}, want)
}
