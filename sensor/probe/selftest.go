package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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

// attempts are how long each attempt of a self-test waits for what it made to be told.
// Records of a busy host may leave no room in the ring buffer for those of an attempt,
// and a feature that is late would be off for as long as the sensor runs.
var attempts = [...]time.Duration{500 * time.Millisecond, 1500 * time.Millisecond, 5 * time.Second}

// loopbackPatience bounds the wait for what is sent over loopback.
const loopbackPatience = 5 * time.Second

// nowhere cannot be connected to: the kernel refuses TCP to the broadcast
// address by itself, and sends nothing.
var nowhere = unix.SockaddrInet4{Port: 9, Addr: [4]byte{255, 255, 255, 255}}

var loopback = [4]byte{127, 0, 0, 1}

// selfTest is what the sensor does to itself, to see whether it is told: all
// that follows is over loopback, or is refused by the kernel at once.
type selfTest struct {
	netns uint32 // inode
	// ports of all attempts, and whether the attempt that is under way uses them.
	ports map[uint16]bool
	// older are connections that were there before any program, one for each attempt.
	older []older
	// olderPort is that of the one that ended in this attempt.
	olderPort uint16
	// uringPort is that of the listener from which io_uring accepts.
	uringPort uint16
	// unnamed says that a socket was told without its cookie.
	unnamed bool
	// askers are the cookies of the sockets that asked a question of DNS, the last by
	// this attempt.
	askers []uint64
}

type older struct {
	ends []io.Closer
	port uint16
}

// begin makes the connections that are older than the programs.
func (t *selfTest) begin() error {
	t.ports = map[uint16]bool{}
	var stat unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &stat); err != nil {
		return fmt.Errorf("asking for the sensor's network namespace: %w", err)
	}
	t.netns = uint32(stat.Ino)
	for range attempts {
		ends, port, err := t.connect()
		if err != nil {
			return err
		}
		t.older = append(t.older, older{ends, port})
	}
	return nil
}

// again begins an attempt.
func (t *selfTest) again() {
	for port := range t.ports {
		t.ports[port] = false
	}
	t.ports[uint16(nowhere.Port)] = true // of every attempt
	t.unnamed = false
}

// endOlder ends one of the older connections, if one is left.
func (t *selfTest) endOlder() {
	if len(t.older) == 0 {
		return // the test then finds the feature silent
	}
	closeAll(t.older[0].ends)
	t.olderPort = t.older[0].port
	t.ports[t.olderPort] = true
	t.older = t.older[1:]
}

// end closes what is left open.
func (t *selfTest) end() {
	for _, o := range t.older {
		closeAll(o.ends)
	}
	t.older = nil
}

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
	client, err := net.DialTimeout("tcp4", listener.Addr().String(), loopbackPatience)
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
	client, err := net.DialTimeout("tcp4", listener.Addr().String(), loopbackPatience)
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
	asker, err := cookieOf(client)
	if err != nil {
		return fmt.Errorf("asking for the cookie of a socket: %w", err)
	}
	t.askers = append(t.askers, asker)
	if _, err := client.WriteTo(query, server.LocalAddr()); err != nil {
		return fmt.Errorf("asking over loopback: %w", err)
	}
	if _, err := server.WriteTo(answer, client.LocalAddr()); err != nil {
		return fmt.Errorf("answering over loopback: %w", err)
	}
	// A busy kernel may be late with it, and tells nothing of what finds no socket.
	_ = client.SetReadDeadline(time.Now().Add(loopbackPatience)) // fails on closed ones only
	if _, _, err := client.ReadFrom(make([]byte, len(answer))); err != nil {
		return fmt.Errorf("waiting for an answer over loopback: %w", err)
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

// shown is the feature that an event of the test shows to work, if it is of this
// attempt; ours is false for the event of another. Other sensors may test themselves on
// the same host.
func (t *selfTest) shown(e *Event) (feature string, ours bool) {
	self := e.Tgid == uint32(os.Getpid())
	to := [4]byte(e.Remote[:4])
	localNow, local := t.ports[e.LocalPort]
	remoteNow, remote := t.ports[e.RemotePort]
	if e.Netns != t.netns || e.Family != FamilyIPv4 || !local && !remote {
		return "", false
	}
	if e.RemotePort == uint16(nowhere.Port) && (!self || to != nowhere.Addr) {
		return "", false
	}
	switch {
	case !localNow && !remoteNow:
		return "", true
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

// asked is the same of a packet that a socket with this cookie sent or received.
func (t *selfTest) asked(cookie uint64) (feature string, ours bool) {
	switch slices.Index(t.askers, cookie) {
	case -1:
		return "", false
	case len(t.askers) - 1:
		return FeatureDNS, true
	}
	return "", true
}

// testAll does everything that an attached program should tell of, and returns an
// error for each feature that is to be tried and was not told of.
func (p *Probe) testAll(tried map[string]*candidate) (failed map[string]error) {
	left := maps.Clone(tried)
	for _, patience := range attempts {
		if len(left) == 0 || p.reader == nil {
			break
		}
		failed = p.attempt(left, patience)
		maps.DeleteFunc(left, func(feature string, _ *candidate) bool { return failed[feature] == nil })
	}
	return failed
}

// attempt is one of testAll.
func (p *Probe) attempt(tried map[string]*candidate, patience time.Duration) map[string]error {
	failed := map[string]error{}
	all := func(err error) map[string]error {
		for feature := range tried {
			failed[feature] = err
		}
		return failed
	}
	p.test.again()
	if err := p.makeRoom(); err != nil {
		return all(err)
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
		p.test.endOlder()
		awaited[FeatureSeed] = 2
	}
	for deadline := time.Now().Add(patience); len(awaited) > 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
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

// makeRoom in the ring buffer for what the kernel tells next.
func (p *Probe) makeRoom() error {
	if p.reader == nil {
		return nil
	}
	return p.readAll(map[string]int{})
}

// mostEarly bounds what is kept for [Probe.Run], in bytes of records: some seconds of
// a host that nothing else would be lost of.
const mostEarly = 32 << 20

// readAll takes what the ring buffer holds now, not what a busy host adds meanwhile:
// the sensor's own for the test, that of others for [Probe.Run].
func (p *Probe) readAll(awaited map[string]int) error {
	held := p.reader.AvailableBytes()
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
		Packet: func(e Packet) { feature, ours = p.test.asked(e.Cookie) },
	}
	var record ringbuf.Record
	for ; held > 0; held -= len(record.RawSample) {
		err := p.reader.ReadInto(&record)
		if errors.Is(err, ringbuf.ErrFlushed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the ring buffer: %w", err)
		}
		feature, ours = "", false
		switch wellFormed := hand(record.RawSample, &handler); {
		case wellFormed && ours:
			if awaited[feature]--; awaited[feature] <= 0 {
				delete(awaited, feature)
			}
		case p.earlyBytes+len(record.RawSample) > mostEarly:
			p.crowdedOut++
		default:
			p.early = append(p.early, bytes.Clone(record.RawSample))
			p.earlyBytes += len(record.RawSample)
		}
	}
	return nil
}
