package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/bpf"
	"github.com/netview-project/netview/sensor/probe/uring"
)

// selfTestPatience is how long a self-test waits for what it made to be told:
// a feature that is late on a busy host would be off for as long as the sensor runs.
const selfTestPatience = 5 * time.Second

// nowhere cannot be connected to: the kernel refuses TCP to the broadcast
// address by itself, and sends nothing.
var nowhere = unix.SockaddrInet4{Port: 9, Addr: [4]byte{255, 255, 255, 255}}

var loopback = [4]byte{127, 0, 0, 1}

// selfTest is what the sensor does to itself, to see whether it is told: all
// that follows is over loopback, or is refused by the kernel at once.
type selfTest struct {
	netns uint32 // inode
	ports map[uint16]bool
	// older is a connection that was there before any program.
	older     []io.Closer
	olderPort uint16
	// uringPort is that of the listener from which io_uring accepts.
	uringPort uint16
	// unnamed says that a socket was told without its cookie.
	unnamed bool
	// asker is the cookie of the socket that asked a question of DNS.
	asker uint64
}

// begin makes the connection that is older than the programs.
func (t *selfTest) begin() error {
	t.ports = map[uint16]bool{uint16(nowhere.Port): true}
	var stat unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &stat); err != nil {
		return fmt.Errorf("asking for the sensor's network namespace: %w", err)
	}
	t.netns = uint32(stat.Ino)
	var err error
	t.older, t.olderPort, err = t.connect()
	return err
}

// end closes what is left open.
func (t *selfTest) end() { closeAll(t.older) }

func closeAll(list []io.Closer) {
	for _, c := range list {
		_ = c.Close() // it has no unsent data
	}
}

// connect makes a connection over loopback, and gives its ends to be closed.
func (t *selfTest) connect() (ends []io.Closer, port uint16, err error) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loopback[:]})
	if err != nil {
		return nil, 0, fmt.Errorf("listening on loopback: %w", err)
	}
	defer listener.Close()
	port = uint16(listener.Addr().(*net.TCPAddr).Port)
	t.ports[port] = true
	client, err := net.DialTimeout("tcp4", listener.Addr().String(), selfTestPatience)
	if err != nil {
		return nil, 0, fmt.Errorf("connecting over loopback: %w", err)
	}
	server, err := listener.Accept()
	if err != nil {
		client.Close()
		return nil, 0, fmt.Errorf("accepting over loopback: %w", err)
	}
	return []io.Closer{server, client}, port, nil
}

// errNoRing is why the sensor cannot see whether it is told of what io_uring accepts.
var errNoRing = errors.New("the sensor cannot use io_uring, and so not test it")

// acceptByUring accepts a connection over loopback by io_uring.
func (t *selfTest) acceptByUring() error {
	ring, err := uring.New()
	if err != nil {
		return fmt.Errorf("%w: %w", errNoRing, err)
	}
	defer ring.Close()
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loopback[:]})
	if err != nil {
		return fmt.Errorf("listening on loopback: %w", err)
	}
	defer listener.Close()
	t.uringPort = uint16(listener.Addr().(*net.TCPAddr).Port)
	t.ports[t.uringPort] = true
	client, err := net.DialTimeout("tcp4", listener.Addr().String(), selfTestPatience)
	if err != nil {
		return fmt.Errorf("connecting over loopback: %w", err)
	}
	defer client.Close()
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	accepted := -1
	if failed := raw.Control(func(fd uintptr) {
		if err = ring.StartAccept(int(fd), false); err == nil {
			accepted, err = ring.Accepted() // the connection is there
		}
	}); failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("accepting by io_uring: %w", err)
	}
	return unix.Close(accepted)
}

// attemptNowhere makes an attempt that the kernel refuses.
func attemptNowhere() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return // the test then finds the feature silent
	}
	_ = unix.Connect(fd, &nowhere) // it fails, which is what is looked for
	unix.Close(fd)
}

// datagram sends one over loopback, from a connected socket.
func (t *selfTest) datagram() {
	receiver, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback[:]})
	if err != nil {
		return // as above
	}
	defer receiver.Close()
	port := receiver.LocalAddr().(*net.UDPAddr).Port
	t.ports[uint16(port)] = true
	sender, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: loopback[:], Port: port})
	if err != nil {
		return
	}
	defer sender.Close()
	_, _ = sender.Write([]byte{0})
}

// resolver is an address of the sensor's own on loopback. A socket on it hears what
// is sent there in the place of one on all addresses.
var resolver = [4]byte{127, 53, 53, 53}

// A query and an answer of DNS that are headers only.
var (
	query  = []byte{1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	answer = []byte{1, 2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}
)

// errNoPort is why a feature is off that might well work.
var errNoPort = errors.New("the sensor has no port to ask itself at")

// ask sends a question to the port of mDNS, for which no right is needed, or to
// that of DNS, and answers it itself.
func (t *selfTest) ask() error {
	server, err := listenUDP(&net.UDPAddr{IP: resolver[:], Port: 5353})
	if err != nil {
		var low error
		if server, low = listenUDP(&net.UDPAddr{IP: resolver[:], Port: 53}); low != nil {
			return fmt.Errorf("%w: %w; %w", errNoPort, err, low)
		}
	}
	defer server.Close()
	client, err := listenUDP(&net.UDPAddr{IP: resolver[:]})
	if err != nil {
		return fmt.Errorf("opening a socket on loopback: %w", err)
	}
	defer client.Close()
	if t.asker, err = cookieOf(client); err != nil {
		return fmt.Errorf("asking for the cookie of a socket: %w", err)
	}
	if _, err := client.WriteTo(query, server.LocalAddr()); err != nil {
		return fmt.Errorf("asking over loopback: %w", err)
	}
	if _, err := server.WriteTo(answer, client.LocalAddr()); err != nil {
		return fmt.Errorf("answering over loopback: %w", err)
	}
	return nil
}

// listenUDP shares its port with sockets on all addresses that do so too, as those
// of mDNS.
func listenUDP(address *net.UDPAddr) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }), err)
	}}
	c, err := config.ListenPacket(context.Background(), "udp4", address.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

func cookieOf(c syscall.Conn) (cookie uint64, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(fd uintptr) { cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE) })
	return cookie, errors.Join(failed, err)
}

// shown is the feature that an event of the test shows to work; ours is false for
// the event of another. Other sensors may test themselves on the same host.
func (t *selfTest) shown(e *Event) (feature string, ours bool) {
	self := e.Tgid == uint32(os.Getpid())
	to := [4]byte(e.Remote[:4])
	if e.Netns != t.netns || e.Family != FamilyIPv4 || !t.ports[e.LocalPort] && !t.ports[e.RemotePort] {
		return "", false
	}
	if e.RemotePort == uint16(nowhere.Port) && (!self || to != nowhere.Addr) {
		return "", false
	}
	switch {
	case e.Type == bpf.StateNvTypeNV_CONNECT && to == nowhere.Addr:
		return FeatureConnect, true
	case e.Type == bpf.StateNvTypeNV_CONNECT && e.Protocol == ProtocolUDP:
		return FeatureUDPConnect, true
	case e.Type == bpf.StateNvTypeNV_LSM_CONNECT:
		return FeatureLSM, true
	case e.Type == bpf.StateNvTypeNV_LISTEN:
		return FeatureListen, true
	case e.Type == bpf.StateNvTypeNV_ACCEPT && e.LocalPort == t.uringPort:
		return FeatureUring, true
	case e.Type == bpf.StateNvTypeNV_ACCEPT:
		return FeatureAccept, true
	case e.LocalPort != t.olderPort && e.RemotePort != t.olderPort:
		return FeatureFlow, true
	case self:
		return FeatureSeed, true
	}
	return "", true // the older connection, of which nobody knows whose it is
}

// testAll does everything that an attached program should tell of, and returns an
// error for each feature that is to be tried and was not told of.
func (p *Probe) testAll(tried map[string]*candidate) map[string]error {
	failed := map[string]error{}
	all := func(err error) map[string]error {
		for feature := range tried {
			failed[feature] = err
		}
		return failed
	}
	if len(tried) == 0 || p.reader == nil {
		return nil
	}
	ends, _, err := p.test.connect()
	if err != nil {
		return all(fmt.Errorf("the sensor cannot connect to itself: %w", err))
	}
	closeAll(ends)
	if tried[FeatureUring] != nil {
		if err := p.test.acceptByUring(); err != nil {
			failed[FeatureUring] = err
		}
	}
	if tried[FeatureDNS] != nil {
		if err := p.test.ask(); err != nil {
			failed[FeatureDNS] = err
		}
	}
	attemptNowhere()
	p.test.datagram()
	p.test.unnamed = false
	awaited := map[string]int{}
	for feature := range tried {
		if failed[feature] == nil && !slices.Contains(untested, feature) {
			awaited[feature] = 1
		}
	}
	if tried[FeatureConnectionID] != nil { // which the events of others show
		delete(awaited, FeatureConnectionID)
		if p.On(FeatureUDPConnect) {
			awaited[FeatureUDPConnect] = 1
		}
	}
	if tried[FeatureFlow] != nil || tried[FeatureConnectionID] != nil {
		awaited[FeatureFlow] = 3 // its beginning, and the end at both sides
	}
	if tried[FeatureDNS] != nil && failed[FeatureDNS] == nil {
		awaited[FeatureDNS] = 2 // the question, and its answer
	}
	if tried[FeatureSeed] != nil {
		p.test.end()
		awaited[FeatureSeed] = 2
	}
	for deadline := time.Now().Add(selfTestPatience); len(awaited) > 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if err := p.readAll(awaited); err != nil {
			return all(err)
		}
	}
	for feature := range awaited {
		failed[feature] = errSilent
	}
	if p.test.unnamed {
		failed[FeatureConnectionID] = errUnnamed
	} else if awaited[FeatureFlow] > 0 {
		failed[FeatureConnectionID] = errSilent
	}
	return failed
}

// readAll takes what the ring buffer holds now: the sensor's own for the test,
// what is of others for [Probe.Run].
func (p *Probe) readAll(awaited map[string]int) error {
	if err := p.reader.Flush(); err != nil {
		return fmt.Errorf("reading the ring buffer: %w", err)
	}
	var feature string
	var ours bool
	handler := Handler{
		Event: func(e *Event) {
			feature, ours = p.test.shown(e)
			if (feature == FeatureFlow || feature == FeatureUDPConnect) && e.Cookie == 0 {
				p.test.unnamed = true
			}
		},
		Packet: func(e Packet) { feature, ours = FeatureDNS, e.Cookie == p.test.asker },
	}
	var record ringbuf.Record
	for {
		err := p.reader.ReadInto(&record)
		if errors.Is(err, ringbuf.ErrFlushed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the ring buffer: %w", err)
		}
		ours = false
		if !hand(record.RawSample, &handler) || !ours {
			p.early = append(p.early, bytes.Clone(record.RawSample))
		} else if awaited[feature]--; awaited[feature] <= 0 {
			delete(awaited, feature)
		}
	}
}
