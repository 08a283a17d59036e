package probe

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/sensor/bpf"
)

// packetWatcher keeps the packets that are told of all namespaces.
type packetWatcher struct {
	probe   *Probe
	lost    map[string]uint64 // that shall be, when the test ends
	mutex   sync.Mutex
	packets []Packet
}

// watchPackets watches with the real programs until the test ends.
func watchPackets(t *testing.T) *packetWatcher {
	t.Helper()
	w := openPackets(t)
	w.run(t)
	return w
}

// openPackets brings the programs into the kernel, for which nobody listens yet.
func openPackets(t *testing.T) *packetWatcher {
	t.Helper()
	p := open(slog.New(slog.NewTextHandler(t.Output(), nil)), []candidate{candidates[0], candidateOf(FeatureDNS)})
	if f := p.feature(FeatureDNS); f.Err != nil {
		p.Close()
		t.Skipf("no packets here: %v", f.Err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return &packetWatcher{probe: p, lost: map[string]uint64{}}
}

// run listens until the test ends.
func (w *packetWatcher) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.probe.Run(ctx, Handler{Packet: w.take}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		for cause, n := range w.probe.Lost() {
			if n != w.lost[cause] {
				t.Errorf("%d records are lost as %s, want %d", n, cause, w.lost[cause])
			}
		}
	})
}

func candidateOf(feature string) candidate {
	return candidates[slices.IndexFunc(candidates, func(c candidate) bool { return c.feature == feature })]
}

func (w *packetWatcher) take(p Packet) {
	header := *p.DNSNvPacket
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.packets = append(w.packets, Packet{&header, bytes.Clone(p.Payload)})
}

// told are the packets of a namespace so far.
func (w *packetWatcher) told(t *testing.T, ns *testns.NS) (list []Packet) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w.probe.Sync(ctx)
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, p := range w.packets {
		if uint64(p.Netns) == ns.Inode {
			list = append(list, p)
		}
	}
	return list
}

func addressOf(family uint16, a [16]uint8) netip.Addr {
	if family == FamilyIPv4 {
		return netip.AddrFrom4([4]byte(a[:4]))
	}
	return netip.AddrFrom16(a)
}

// words of a packet. Ports that the kernel chose are a star.
func words(p Packet) string {
	end := func(a [16]uint8, port uint16) string {
		name := fmt.Sprint(port)
		if port >= 1<<15 {
			name = "*"
		}
		return net.JoinHostPort(addressOf(p.Family, a).String(), name)
	}
	way, transport, by := "<", "udp", ""
	if p.Protocol != ProtocolUDP {
		transport = "tcp"
	}
	if p.Sent != 0 {
		way = ">"
	}
	own, _ := os.ReadFile("/proc/self/comm")
	switch {
	case p.Tgid == uint32(os.Getpid()) && p.Uid == 0 && string(p.Comm()) == strings.TrimSpace(string(own)):
		by = " by us"
	case p.Tgid != 0:
		by = " by " + string(p.Comm())
	}
	return fmt.Sprintf("%s %s %s %s %d%s", transport, end(p.Local, p.LocalPort), way, end(p.Remote, p.RemotePort), p.Length, by)
}

// message of DNS, as far as the programs look at it: of a length, which nothing
// else has; a question or an answer.
func message(length int, answer bool) []byte {
	m := make([]byte, length)
	for i := range m {
		m[i] = byte(i*7 + length)
	}
	m[2] &= 0x7f
	if answer {
		m[2] |= 0x80
	}
	return m
}

// talk is what happens in one row of the table, on a thread in the namespace.
type talk struct {
	// cookies of the sockets of clients: only these are told.
	cookies map[uint64]bool
	fds     []int
}

func (k *talk) close() {
	for _, fd := range k.fds {
		unix.Close(fd)
	}
}

// bound is a socket of a server, on an address.
func (k *talk) bound(kind int, address unix.Sockaddr) (fd int, err error) {
	if fd, err = unix.Socket(familyOf(address), kind|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	k.fds = append(k.fds, fd)
	patience := unix.Timeval{Sec: 5}
	return fd, errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, address))
}

// client is a socket whose packets should be told; nil is any address.
func (k *talk) client(family, kind int, address unix.Sockaddr) (fd int, err error) {
	if address == nil {
		if address = any4(0); family == unix.AF_INET6 {
			address = &unix.SockaddrInet6{}
		}
	}
	fd, err = k.bound(kind, address)
	if err != nil {
		return fd, err
	}
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	k.cookies[cookie] = true
	return fd, err
}

// waiting does a call again that a signal has interrupted: the kernel does not, of
// sockets that have a limit to their patience.
func waiting[T any](call func() (T, error)) (result T, err error) {
	for {
		if result, err = call(); err != unix.EINTR {
			return result, err
		}
	}
}

// datagram that a socket receives, and who sent it.
func datagram(fd int, buffer []byte) (n int, from unix.Sockaddr, err error) {
	n, err = waiting(func() (n int, err error) {
		n, from, err = unix.Recvfrom(fd, buffer, 0)
		return n, err
	})
	return n, from, err
}

// accept a connection.
func accept(listener int) (fd int, err error) {
	return waiting(func() (int, error) {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		return fd, err
	})
}

// read some of a stream.
func read(fd int, buffer []byte) (n int, err error) {
	return waiting(func() (int, error) { return unix.Read(fd, buffer) })
}

// reply receives a datagram and answers it with so many bytes.
func reply(server, length int) error {
	buffer := make([]byte, 1<<16)
	_, from, err := datagram(server, buffer)
	if err != nil {
		return fmt.Errorf("the server: %w", err)
	}
	return unix.Sendto(server, message(length, true), 0, from)
}

// receive an answer of so many bytes.
func receive(client, length int) error {
	buffer := make([]byte, 1<<16)
	n, _, err := datagram(client, buffer)
	if err == nil && !bytes.Equal(buffer[:n], message(length, true)) {
		err = fmt.Errorf("the client received %d bytes, want %d", n, length)
	}
	return err
}

// exchange asks and answers once over UDP. Before it asks, the client does prepare.
func (k *talk) exchange(family int, server unix.Sockaddr, to unix.Sockaddr, asked, answered int, prepare func(client, server int) error) error {
	s, err := k.bound(unix.SOCK_DGRAM, server)
	if err != nil {
		return err
	}
	c, err := k.client(family, unix.SOCK_DGRAM, nil)
	if err != nil {
		return err
	}
	if prepare != nil {
		if err := prepare(c, s); err != nil {
			return err
		}
	}
	return errors.Join(unix.Sendto(c, message(asked, false), 0, to), reply(s, answered), receive(c, answered))
}

func familyOf(address unix.Sockaddr) int {
	if _, is := address.(*unix.SockaddrInet6); is {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func any4(port int) unix.Sockaddr { return &unix.SockaddrInet4{Port: port} }

func at4(port int, a ...byte) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte(a)}
}

func local4(port int) unix.Sockaddr { return at4(port, 127, 0, 0, 1) }

func local6(port int) unix.Sockaddr { return &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}} }

// TestPackets: do this, and exactly these packets are told, each of the socket of
// a client, with all of its payload.
func TestPackets(t *testing.T) {
	ns := testns.New(t)
	w := watchPackets(t)
	asked, answered := "udp 127.0.0.1:* > 127.0.0.1:53 40 by us", "udp 127.0.0.1:* < 127.0.0.1:53 90"
	asked6, answered6 := "udp [::1]:* > [::1]:53 40 by us", "udp [::1]:* < [::1]:53 90"
	for name, c := range map[string]struct {
		do   func(*talk) error
		want []string
	}{
		"a question and its answer": {func(k *talk) error {
			return k.exchange(unix.AF_INET, local4(53), local4(53), 40, 90, nil)
		}, []string{asked, answered}},
		"by a connected socket": {func(k *talk) error {
			return k.exchange(unix.AF_INET, local4(53), nil, 40, 90, func(client, _ int) error { return unix.Connect(client, local4(53)) })
		}, []string{asked, answered}},
		"IPv6": {func(k *talk) error {
			return k.exchange(unix.AF_INET6, local6(53), local6(53), 40, 90, nil)
		}, []string{asked6, answered6}},
		"IPv6, connected": {func(k *talk) error {
			return k.exchange(unix.AF_INET6, local6(53), nil, 40, 90, func(client, _ int) error { return unix.Connect(client, local6(53)) })
		}, []string{asked6, answered6}},
		"an IPv4-mapped address": {func(k *talk) error {
			return k.exchange(unix.AF_INET6, local4(53), &unix.SockaddrInet6{Port: 53, Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}}, 40, 90, nil)
		}, []string{asked, answered}},
		"options of IPv4": {func(k *talk) error {
			return k.exchange(unix.AF_INET, local4(53), local4(53), 40, 90, func(client, server int) error {
				const noOperations = "\x01\x01\x01\x01\x01\x01\x01\x01"
				return errors.Join(unix.SetsockoptString(client, unix.IPPROTO_IP, unix.IP_OPTIONS, noOperations),
					unix.SetsockoptString(server, unix.IPPROTO_IP, unix.IP_OPTIONS, noOperations))
			})
		}, []string{asked, answered}},
		"extension headers of IPv6": {func(k *talk) error {
			return k.exchange(unix.AF_INET6, local6(53), local6(53), 40, 90, func(client, server int) error {
				const padding = "\x00\x00\x01\x04\x00\x00\x00\x00"
				return errors.Join(unix.SetsockoptString(client, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, padding),
					unix.SetsockoptString(client, unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, padding),
					unix.SetsockoptString(server, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, padding))
			})
		}, []string{asked6, answered6}},
		"several messages in one call": {func(k *talk) error {
			if _, err := k.bound(unix.SOCK_DGRAM, local4(53)); err != nil {
				return err
			}
			client, err := k.client(unix.AF_INET, unix.SOCK_DGRAM, nil)
			if err != nil {
				return err
			}
			return sendTogether(client, [][][]byte{{message(41, false)}, {message(42, false)}})
		}, []string{"udp 127.0.0.1:* > 127.0.0.1:53 41 by us", "udp 127.0.0.1:* > 127.0.0.1:53 42 by us"}},
		"a message in two pieces of memory": {func(k *talk) error {
			if _, err := k.bound(unix.SOCK_DGRAM, local4(53)); err != nil {
				return err
			}
			client, err := k.client(unix.AF_INET, unix.SOCK_DGRAM, nil)
			if err != nil {
				return err
			}
			m := message(40, false)
			return sendTogether(client, [][][]byte{{m[:1], m[1:]}})
		}, []string{asked}},
		"nobody listens": {func(k *talk) error {
			client, err := k.client(unix.AF_INET, unix.SOCK_DGRAM, nil)
			return errors.Join(err, unix.Sendto(client, message(40, false), 0, local4(53)))
		}, []string{asked}},
		"messages of every room, and longer than a packet of the link": {func(k *talk) error {
			for _, length := range []int{128, 129, 512, 513, 4096, 4097, 65507} {
				if err := k.exchange(unix.AF_INET, local4(53), local4(53), length, length, nil); err != nil {
					return err
				}
				k.close() // for the next server
				k.fds = nil
			}
			return nil
		}, func() (lines []string) {
			for _, length := range []int{128, 129, 512, 513, 4096, 4097, 65507} {
				lines = append(lines, fmt.Sprintf("udp 127.0.0.1:* > 127.0.0.1:53 %d by us", length), fmt.Sprintf("udp 127.0.0.1:* < 127.0.0.1:53 %d", length))
			}
			return lines
		}()},
		"too short for DNS": {func(k *talk) error {
			client, err := k.client(unix.AF_INET, unix.SOCK_DGRAM, nil)
			return errors.Join(err, unix.Sendto(client, []byte{1}, 0, local4(53)), unix.Sendto(client, nil, 0, local4(53)))
		}, []string{"udp 127.0.0.1:* > 127.0.0.1:53 1 by us"}},
		"a server that asks from its own port": {func(k *talk) error {
			client, err := k.client(unix.AF_INET, unix.SOCK_DGRAM, at4(53, 127, 0, 0, 2))
			if err != nil {
				return err
			}
			server, err := k.bound(unix.SOCK_DGRAM, local4(53))
			if err != nil {
				return err
			}
			return errors.Join(unix.Sendto(client, message(40, false), 0, local4(53)), reply(server, 90), receive(client, 90))
		}, []string{"udp 127.0.0.2:53 > 127.0.0.1:53 40 by us", "udp 127.0.0.2:53 < 127.0.0.1:53 90"}},
		"while somebody captures": {func(k *talk) error {
			raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
			if err != nil {
				return err
			}
			k.fds = append(k.fds, raw)
			return k.exchange(unix.AF_INET, local4(53), local4(53), 40, 90, nil)
		}, []string{asked, answered}},
		"mDNS that is asked for a unicast answer": {func(k *talk) error {
			return k.exchange(unix.AF_INET, local4(5353), local4(5353), 40, 90, nil)
		}, []string{"udp 127.0.0.1:* > 127.0.0.1:5353 40 by us", "udp 127.0.0.1:* < 127.0.0.1:5353 90"}},
		"what is not DNS": {func(k *talk) error {
			for _, port := range []int{52, 54, 853, 5352, 5354, 53 << 8} {
				for _, server := range []unix.Sockaddr{local4(port), local6(port)} {
					if err := k.exchange(familyOf(server), server, server, 40, 90, nil); err != nil {
						return err
					}
				}
			}
			return errors.Join(k.stream(local4(5353), []int{40}, []int{90}), k.stream(local6(54), []int{40}, []int{90}))
		}, nil},
		"DNS over TCP": {func(k *talk) error {
			return k.stream(local4(53), []int{2, 40}, []int{90})
		}, []string{"tcp 127.0.0.1:* > 127.0.0.1:53 2", "tcp 127.0.0.1:* > 127.0.0.1:53 40", "tcp 127.0.0.1:* < 127.0.0.1:53 90"}},
		"DNS over TCP, by IPv6": {func(k *talk) error {
			return k.stream(local6(53), []int{40, 40}, []int{1, 4000, 9000})
		}, []string{"tcp [::1]:* > [::1]:53 40", "tcp [::1]:* > [::1]:53 40", "tcp [::1]:* < [::1]:53 1", "tcp [::1]:* < [::1]:53 4000", "tcp [::1]:* < [::1]:53 9000"}},
		"DNS over TCP whose first segment is the SYN": {func(k *talk) error {
			if err := os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("519"), 0); err != nil { // both sides, without a cookie
				return err
			}
			listener, err := k.bound(unix.SOCK_STREAM, local4(53))
			if err != nil {
				return err
			}
			client, err := k.client(unix.AF_INET, unix.SOCK_STREAM, nil)
			if err != nil {
				return err
			}
			if err := errors.Join(unix.SetsockoptInt(listener, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 1), unix.Listen(listener, 1),
				unix.Sendto(client, message(40, false), unix.MSG_FASTOPEN, local4(53))); err != nil {
				return err
			}
			server, err := accept(listener)
			if err != nil {
				return err
			}
			k.fds = append(k.fds, server)
			return errors.Join(pass(client, server, []int{50}), pass(server, client, []int{90}))
		}, []string{"tcp 127.0.0.1:* > 127.0.0.1:53 40", "tcp 127.0.0.1:* > 127.0.0.1:53 50", "tcp 127.0.0.1:* < 127.0.0.1:53 90"}},
	} {
		t.Run(name, func(t *testing.T) {
			k := &talk{cookies: map[uint64]bool{}}
			defer k.close()
			before := len(w.told(t, ns))
			ns.Do(t, func() error { return c.do(k) })
			var lines []string
			next := map[uint8]uint32{} // sequence, of each way
			for _, p := range w.told(t, ns)[before:] {
				lines = append(lines, words(p))
				check(t, p)
				if next[p.Sent] != 0 && next[p.Sent] != p.Sequence {
					t.Errorf("%s: its sequence is %d, want %d", words(p), p.Sequence, next[p.Sent])
				}
				if p.Protocol != ProtocolUDP {
					next[p.Sent] = p.Sequence + p.Length
				}
				if !k.cookies[p.Cookie] {
					t.Errorf("%s: the cookie %d is none of %v", words(p), p.Cookie, k.cookies)
				}
			}
			expectLines(t, lines, c.want)
		})
	}
}

// expectLines compares what was told, in its order.
func expectLines(t *testing.T, have, want []string) {
	t.Helper()
	if !slices.Equal(have, want) {
		t.Errorf("told:\n\t%s\nwant:\n\t%s", strings.Join(have, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// check what every packet has.
func check(t *testing.T, p Packet) {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	if age := time.Duration(now.Nano()) - time.Duration(p.Time); age < 0 || age > time.Minute {
		t.Errorf("%s: it is %v old", words(p), age)
	}
	if p.Protocol == ProtocolUDP && p.Length > 2 && !bytes.Equal(p.Payload, message(int(p.Length), p.Sent == 0)) {
		t.Errorf("%s: its payload is another's: %d bytes, % x…", words(p), len(p.Payload), p.Payload[:min(16, len(p.Payload))])
	}
	if p.Protocol == ProtocolUDP && p.Sequence != 0 || p.Protocol != ProtocolUDP && p.Tgid != 0 {
		t.Errorf("%s: sequence %d, process %d", words(p), p.Sequence, p.Tgid)
	}
}

// sendTogether sends datagrams, each of several pieces, by one sendmmsg(2).
func sendTogether(fd int, datagrams [][][]byte) error {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) // which a file closes
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(own), "client")
	defer file.Close()
	connection, err := net.FilePacketConn(file)
	if err != nil {
		return err
	}
	defer connection.Close()
	var messages []ipv4.Message
	for _, pieces := range datagrams {
		messages = append(messages, ipv4.Message{Buffers: pieces, Addr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53}})
	}
	n, err := ipv4.NewPacketConn(connection).WriteBatch(messages, 0)
	if err == nil && n != len(messages) {
		err = fmt.Errorf("%d of %d messages are sent", n, len(messages))
	}
	return err
}

// stream connects to a server and sends it parts, each in a segment of its own,
// and receives such of it.
func (k *talk) stream(address unix.Sockaddr, asked, answered []int) error {
	client, server, err := k.connect(address)
	if err != nil {
		return err
	}
	return errors.Join(pass(client, server, asked), pass(server, client, answered))
}

// connect a client with a server.
func (k *talk) connect(address unix.Sockaddr) (client, server int, err error) {
	listener, err := k.bound(unix.SOCK_STREAM, address)
	if err != nil {
		return -1, -1, err
	}
	if err := unix.Listen(listener, 1); err != nil {
		return -1, -1, err
	}
	if client, err = k.client(familyOf(address), unix.SOCK_STREAM, nil); err != nil {
		return -1, -1, err
	}
	if err := unix.Connect(client, address); err != nil {
		return -1, -1, err
	}
	if server, err = accept(listener); err != nil {
		return -1, -1, err
	}
	k.fds = append(k.fds, server)
	return client, server, errors.Join(unix.SetsockoptInt(client, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), unix.SetsockoptInt(server, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
}

// pass parts of a stream, each after the one before was received.
func pass(from, to int, parts []int) error {
	for _, length := range parts {
		if _, err := unix.Write(from, make([]byte, length)); err != nil {
			return err
		}
		buffer := make([]byte, length)
		for len(buffer) > 0 {
			n, err := read(to, buffer)
			if err != nil {
				return err
			}
			buffer = buffer[n:]
		}
	}
	return nil
}

// TestPacketsOfAProcess that is gone before anybody looks.
func TestPacketsOfAProcess(t *testing.T) {
	ns := testns.New(t)
	w := watchPackets(t)
	bash := exec.Command("bash", "-c", `printf 'query' >/dev/udp/127.0.0.1/53`)
	ns.Do(t, bash.Run)
	told := w.told(t, ns)
	if len(told) != 1 || string(told[0].Payload) != "query" || told[0].Tgid != uint32(bash.Process.Pid) || string(told[0].Comm()) != "bash" || told[0].Uid != 0 {
		t.Errorf("process %d sent it, told: %+v", bash.Process.Pid, told)
	}
}

// TestTranslated: a resolver that is reached by the translation of addresses, as that
// of Docker is, is told as its client knows it.
func TestTranslated(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("translating addresses needs the nft command of nftables")
	}
	ns := testns.New(t)
	w := watchPackets(t)
	rules := exec.Command(nft, "-f", "-")
	rules.Stdin = strings.NewReader(`table ip translate {
	chain output {
		type nat hook output priority -100
		ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.1:5399
	}
}
`)
	ns.Do(t, func() error {
		if said, err := rules.CombinedOutput(); err != nil {
			return fmt.Errorf("translating addresses: %w: %s", err, said)
		}
		return nil
	})
	k := &talk{cookies: map[uint64]bool{}}
	defer k.close()
	ns.Do(t, func() error {
		return k.exchange(unix.AF_INET, local4(5399), nil, 40, 90, func(client, _ int) error { return unix.Connect(client, at4(53, 127, 0, 0, 11)) })
	})
	var lines []string
	for _, p := range w.told(t, ns) {
		lines = append(lines, words(p))
	}
	expectLines(t, lines, []string{"udp 127.0.0.1:* > 127.0.0.11:53 40 by us", "udp 127.0.0.1:* < 127.0.0.11:53 90"})
}

// TestPacketsAcrossNamespaces: over a link the kernel sees each packet four times.
// Streams are cut into segments by it, or not: what is told is the whole stream.
func TestPacketsAcrossNamespaces(t *testing.T) {
	here, there := testns.New(t), testns.New(t)
	addressHere, addressThere := testns.Pair(t, here, there, 10)
	w := watchPackets(t)
	server := &unix.SockaddrInet4{Port: 53, Addr: addressThere.As4()}

	k := &talk{cookies: map[uint64]bool{}}
	defer k.close()
	var udp, listener int
	there.Do(t, func() (err error) {
		if udp, err = k.bound(unix.SOCK_DGRAM, server); err == nil {
			listener, err = k.bound(unix.SOCK_STREAM, server)
		}
		return errors.Join(err, unix.Listen(listener, 1))
	})
	here.Do(t, func() error {
		client, err := k.client(unix.AF_INET, unix.SOCK_DGRAM, nil)
		if err != nil {
			return err
		}
		return errors.Join(unix.Sendto(client, message(2000, false), 0, server), reply(udp, 3000), receive(client, 3000)) // in fragments
	})
	var lines []string
	for _, p := range w.told(t, here) {
		lines = append(lines, words(p))
		check(t, p)
	}
	expectLines(t, lines, []string{fmt.Sprintf("udp %s:* > %s:53 2000 by us", addressHere, addressThere), fmt.Sprintf("udp %s:* < %s:53 3000", addressHere, addressThere)})

	const size = 1 << 20
	sent, received := message(size, false), message(size, true)
	before := len(w.told(t, here))
	here.Do(t, func() error {
		client, err := k.client(unix.AF_INET, unix.SOCK_STREAM, nil)
		if err == nil {
			err = unix.Connect(client, server)
		}
		if err != nil {
			return err
		}
		accepted, err := accept(listener)
		if err != nil {
			return err
		}
		k.fds = append(k.fds, accepted)
		return errors.Join(carry(client, accepted, sent), carry(accepted, client, received))
	})
	streams := map[uint8][]byte{}
	next := map[uint8]uint32{}
	var longest uint32
	packets := w.told(t, here)[before:]
	// A sender that moves to another CPU may overtake itself.
	slices.SortStableFunc(packets, func(a, b Packet) int {
		return cmp.Or(cmp.Compare(a.Sent, b.Sent), int(int32(a.Sequence-b.Sequence)))
	})
	for _, p := range packets {
		longest = max(longest, p.Length)
		if p.Length != p.Kept {
			t.Errorf("%s: %d bytes are kept", words(p), p.Kept)
		}
		if again := next[p.Sent] - p.Sequence; streams[p.Sent] == nil || again == 0 {
			streams[p.Sent] = append(streams[p.Sent], p.Payload...)
		} else if again < p.Length { // sent again, with more
			streams[p.Sent] = append(streams[p.Sent], p.Payload[again:]...)
		} else if again > size {
			t.Errorf("%s: %d bytes before it are missing", words(p), -again)
		} else {
			continue
		}
		next[p.Sent] = p.Sequence + p.Length
	}
	if !bytes.Equal(streams[1], sent) || !bytes.Equal(streams[0], received) {
		t.Errorf("%d and %d bytes are told of %d, or others", len(streams[1]), len(streams[0]), size)
	}
	if longest < 1<<14 {
		t.Errorf("the longest packet has %d bytes: none is left to be cut to segments later", longest)
	}
	if told := w.told(t, there); len(told) > 0 {
		t.Errorf("the server's side is told: %s", words(told[0]))
	}
}

// carry bytes through a connection.
func carry(from, to int, data []byte) error {
	written := make(chan error, 1)
	go func() {
		for rest := data; len(rest) > 0; {
			n, err := unix.Write(from, rest)
			if err != nil {
				written <- err
				return
			}
			rest = rest[n:]
		}
		written <- nil
	}()
	arrived := make([]byte, len(data))
	for rest := arrived; len(rest) > 0; {
		n, err := read(to, rest)
		if err != nil || n == 0 {
			return errors.Join(fmt.Errorf("%d bytes are missing", len(rest)), err)
		}
		rest = rest[n:]
	}
	if !bytes.Equal(arrived, data) {
		return errors.New("other bytes arrive than were sent")
	}
	return <-written
}

// TestPacketsOfMDNS: everybody on the link hears questions and answers. Told are
// questions by who asks and answers by each socket that hears them.
func TestPacketsOfMDNS(t *testing.T) {
	here, there := testns.New(t), testns.New(t)
	addressHere, addressThere := testns.Pair(t, here, there, 11)
	w := watchPackets(t)
	group := at4(5353, 224, 0, 0, 251)
	k := &talk{cookies: map[uint64]bool{}}
	defer k.close()
	join := func(ns *testns.NS, address netip.Addr) (fd int) {
		ns.Do(t, func() (err error) {
			if fd, err = k.bound(unix.SOCK_DGRAM, any4(5353)); err != nil {
				return err
			}
			member := &unix.IPMreq{Multiaddr: [4]byte{224, 0, 0, 251}, Interface: address.As4()}
			return errors.Join(unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, member),
				unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, address.As4()))
		})
		return fd
	}
	asker, responder := join(here, addressHere), join(there, addressThere)
	buffer := make([]byte, 100)
	hear := func(fd, length int) error {
		n, _, err := datagram(fd, buffer)
		if err == nil && n != length {
			err = fmt.Errorf("%d bytes come, want %d", n, length)
		}
		return err
	}
	if err := errors.Join(unix.Sendto(asker, message(40, false), 0, group), hear(asker, 40), hear(responder, 40), // its own question too
		unix.Sendto(responder, message(90, true), 0, group), hear(asker, 90), hear(responder, 90),
		unix.Sendto(responder, message(91, true), 0, &unix.SockaddrInet4{Port: 5353, Addr: addressHere.As4()}), hear(asker, 91)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ns   *testns.NS
		want []string
	}{
		{here, []string{fmt.Sprintf("udp %s:5353 > 224.0.0.251:5353 40 by us", addressHere), fmt.Sprintf("udp 224.0.0.251:5353 < %s:5353 90", addressThere), fmt.Sprintf("udp %s:5353 < %s:5353 91", addressHere, addressThere)}},
		{there, []string{fmt.Sprintf("udp 224.0.0.251:5353 < %s:5353 90", addressThere)}},
	} {
		var lines []string
		for _, p := range w.told(t, c.ns) {
			lines = append(lines, words(p))
			check(t, p)
		}
		expectLines(t, lines, c.want)
	}
}

// TestPacketsInOne: of datagrams that leave as one packet the first is told, and
// the others are counted as lost.
func TestPacketsInOne(t *testing.T) {
	ns := testns.New(t)
	w := watchPackets(t)
	k := &talk{cookies: map[uint64]bool{}}
	defer k.close()
	var refused error
	ns.Do(t, func() error {
		if _, err := k.bound(unix.SOCK_DGRAM, local4(53)); err != nil {
			return err
		}
		client, err := k.client(unix.AF_INET, unix.SOCK_DGRAM, nil)
		if err != nil {
			return err
		}
		if refused = unix.SetsockoptInt(client, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 40); refused != nil {
			return nil
		}
		return unix.Sendto(client, bytes.Repeat(message(40, false), 3), 0, local4(53))
	})
	if refused != nil {
		t.Skipf("no such packets here: %v", refused)
	}
	var lines []string
	for _, p := range w.told(t, ns) {
		lines = append(lines, words(p))
		check(t, p)
	}
	expectLines(t, lines, []string{"udp 127.0.0.1:* > 127.0.0.1:53 40 by us"})
	w.lost[CausePacket] = 1
}

// TestPacketsLongerThanKept: where the link takes more than 64 KiB of a stream at
// once, the first 64 KiB are kept, and what is missing can be told.
func TestPacketsLongerThanKept(t *testing.T) {
	ns := testns.New(t)
	w := watchPackets(t)
	k := &talk{cookies: map[uint64]bool{}}
	defer k.close()
	var refused error
	ns.Do(t, func() error {
		if out, err := exec.Command("ip", "link", "set", "lo", "gso_max_size", "250000", "gro_max_size", "250000").CombinedOutput(); err != nil {
			refused = fmt.Errorf("%w: %s", err, out)
			return nil
		}
		client, server, err := k.connect(local6(53))
		if err != nil {
			return err
		}
		return carry(client, server, message(8<<20, false))
	})
	if refused != nil {
		t.Skipf("no such link here: %v", refused)
	}
	longest := uint32(0)
	for _, p := range w.told(t, ns) {
		longest = max(longest, p.Length)
		if p.Kept != min(p.Length, 1<<16) || int(p.Kept) != len(p.Payload) {
			t.Errorf("%s: %d bytes are kept, %d told", words(p), p.Kept, len(p.Payload))
		}
	}
	if longest <= 1<<16 {
		t.Skipf("the longest packet has %d bytes", longest)
	}
}

// TestPacketsFlood: more is told than the ring buffer holds, while nobody reads it.
func TestPacketsFlood(t *testing.T) {
	ns := testns.New(t)
	w := openPackets(t)
	k := &talk{cookies: map[uint64]bool{}}
	defer k.close()
	const queries, length = 16_000, 500
	ns.Do(t, func() error {
		client, err := k.client(unix.AF_INET, unix.SOCK_DGRAM, nil)
		for range queries {
			err = errors.Join(err, unix.Sendto(client, message(length, false), 0, local4(53)))
		}
		return err
	})
	w.run(t)
	told := len(w.told(t, ns))
	lost := w.probe.Lost()[CauseRing]
	t.Logf("%d queries: %d are told, %d lost", queries, told, lost)
	if missing := uint64(queries - told); missing == 0 || lost != missing && (os.Getenv("NETVIEW_ALONE") != "" || lost < missing) {
		t.Errorf("of %d queries %d are told, and %d are counted as lost", queries, told, lost)
	}
	w.lost[CauseRing] = lost
}

// packetRecord is one of the ring buffer.
func packetRecord(room, kept, length int) []byte {
	record := make([]byte, packetHeader+room)
	p, _ := decodePacket(record[:packetHeader+int(bpf.DNSNvRoomNV_ROOM_QUERY)])
	p.Type, p.Kept, p.Length = uint32(bpf.StateNvTypeNV_PACKET), uint32(kept), uint32(length)
	return record
}

// TestDecodePacket: a record has the room that its payload needs, and nothing else
// is taken for one.
func TestDecodePacket(t *testing.T) {
	for _, c := range []struct {
		room, kept, length int
		ok                 bool
	}{
		{128, 1, 1, true}, {128, 128, 128, true}, {128, 129, 129, false}, {512, 129, 129, true}, {512, 128, 128, false},
		{4096, 4096, 4096, true}, {65536, 4097, 4097, true}, {65536, 65536, 70000, true}, {65536, 65537, 70000, false}, {128, 2, 1, false},
	} {
		record := packetRecord(c.room, c.kept, c.length)
		for n := range record {
			if c.ok && hand(record[:n], &Handler{}) {
				t.Errorf("%+v: %d bytes of %d are taken", c, n, len(record))
			}
		}
		var p Packet
		if ok := hand(record, &Handler{Packet: func(told Packet) { p = told }}); ok != c.ok || ok && len(p.Payload) != c.kept {
			t.Errorf("%+v: taken %v, %d bytes of payload", c, ok, len(p.Payload))
		}
	}
}

// FuzzHand: whatever a record holds, nothing of another's memory is handed on.
func FuzzHand(f *testing.F) {
	f.Add(packetRecord(128, 12, 12))
	f.Add(packetRecord(512, 200, 65000))
	for kind := range byte(9) {
		for _, size := range []uintptr{unsafe.Sizeof(Event{}), unsafe.Sizeof(Lookup{}), unsafe.Sizeof(bpf.ExecNvExec{})} {
			f.Add(append([]byte{kind}, make([]byte, size-1)...))
		}
	}
	f.Fuzz(func(t *testing.T, sample []byte) {
		calls := 0
		ok := hand(bytes.Clone(sample), &Handler{
			Event: func(e *Event) {
				calls++
				if len(Comm(e)) > 16 {
					t.Errorf("a name of %d bytes", len(Comm(e)))
				}
			},
			Packet: func(p Packet) {
				calls++
				if len(p.Payload) != int(p.Kept) || packetHeader+len(p.Payload) > len(sample) || !bytes.Equal(p.Payload, sample[packetHeader:packetHeader+len(p.Payload)]) || len(p.Comm()) > 16 {
					t.Errorf("a payload of %d bytes in a record of %d", len(p.Payload), len(sample))
				}
			},
			Lookup: func(*Lookup) { calls++ }, // FuzzLookup looks at it
			Exec:   func(uint32) { calls++ },
		})
		if ok != (calls == 1) {
			t.Errorf("taken %v, with %d calls", ok, calls)
		}
	})
}
