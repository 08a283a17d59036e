package socket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/sensor/process/procdir"
)

// TestDiagAgreesWithProc holds TCP sockets of many states and both families in
// a namespace of their own, and reads them both ways.
func TestDiagAgreesWithProc(t *testing.T) {
	ns := testns.New(t)
	ns.Do(t, func() error {
		openEveryState(t)
		self, err := procdir.Open("/proc/thread-self")
		if err != nil {
			return err
		}
		defer self.Close()
		var diag, files, before tables
		// A reading counts when nothing moved during it: answers are under way.
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			err := errors.Join(readFiles(&before, self, ns.Inode), readDiag(&diag, self, ns.Inode), readFiles(&files, self, ns.Inode))
			if err != nil {
				return err
			}
			if slices.ContainsFunc(before.rows, func(row Row) bool { return row.State == FinWait2 }) && slices.Equal(before.rows, files.rows) {
				break
			}
			if time.Now().After(deadline) {
				return errors.New("the sockets do not come to rest")
			}
		}
		states := map[string]int{}
		for _, row := range files.rows {
			states[fmt.Sprint(row.State, " ", row.Family(), " mapped ", row.V4Mapped)]++
		}
		t.Log(states)
		for _, want := range []string{"listen ipv4 mapped false", "listen ipv4 mapped true", "listen ipv6 mapped false", "established ipv4 mapped true",
			"established ipv6 mapped false", "syn_sent ipv4 mapped false", "time_wait ipv4 mapped false", "fin_wait_2 ipv4 mapped false", "close_wait ipv4 mapped false"} {
			if states[want] == 0 {
				t.Errorf("no socket is in state %s: the comparison is not worth its name", want)
			}
		}
		queued := func(row Row) bool { return row.State == Established && row.RxQueue > 0 }
		backlog := func(row Row) bool { return row.State == Listen && row.RxQueue > 0 }
		if !slices.ContainsFunc(files.rows, queued) || !slices.ContainsFunc(files.rows, backlog) {
			t.Error("no socket has something in its queues")
		}
		for i := range diag.rows {
			row := &diag.rows[i]
			if row.Cookie == 0 {
				t.Errorf("sock_diag gives no cookie: %v", *row)
			}
			row.Cookie, row.Info = 0, Info{} // which /proc does not tell
		}
		if !slices.Equal(diag.rows, files.rows) || len(diag.faults)+len(files.faults) > 0 {
			t.Errorf("sock_diag:\n%v%v\n/proc:\n%v%v", lines(diag.rows), diag.faults, lines(files.rows), files.faults)
		}
		return nil
	})
}

func readFiles(into *tables, dir procdir.Dir, inode uint64) error {
	into.begin(inode)
	err := errors.Join(into.readFile(dir, "net/tcp", TCP), into.readFile(dir, "net/tcp6", TCP))
	order(into.rows)
	return err
}

func readDiag(into *tables, dir procdir.Dir, inode uint64) error {
	into.begin(inode)
	err := into.dump(dir)
	order(into.rows)
	return err
}

func order(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

func lines(rows []Row) string {
	var text strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&text, "%+v\n", row)
	}
	return text.String()
}

// openEveryState makes sockets that stay until the test ends.
func openEveryState(t *testing.T) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	listen := func(network, address string) *net.TCPListener {
		l, err := net.Listen(network, address)
		must(err)
		t.Cleanup(func() { l.Close() })
		return l.(*net.TCPListener)
	}
	connect := func(network string, l *net.TCPListener, address string) (client, server *net.TCPConn) {
		c, err := net.Dial(network, address)
		must(err)
		s, err := l.Accept()
		must(err)
		t.Cleanup(func() { c.Close(); s.Close() })
		return c.(*net.TCPConn), s.(*net.TCPConn)
	}
	four, six, both := listen("tcp4", "127.0.0.1:0"), listen("tcp6", "[::1]:0"), listen("tcp", "[::]:0")
	port := func(l *net.TCPListener) int { return l.Addr().(*net.TCPAddr).Port }

	_, server := connect("tcp4", four, four.Addr().String())
	_, err := server.Write([]byte("nobody reads this"))
	must(err)
	connect("tcp6", six, six.Addr().String())
	connect("tcp4", both, fmt.Sprintf("127.0.0.1:%d", port(both)))

	halfClosed, _ := connect("tcp4", four, four.Addr().String())
	must(halfClosed.CloseWrite()) // FIN_WAIT_2 here, CLOSE_WAIT there
	first, second := connect("tcp4", four, four.Addr().String())
	must(first.Close()) // TIME_WAIT
	must(second.Close())

	// A listener on a mapped address, which net does not make, with a queue
	// that is full: the next to connect waits in SYN_SENT.
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	t.Cleanup(func() { unix.Close(fd) })
	loopback := netip.MustParseAddr("::ffff:127.0.0.1").As16()
	must(unix.Bind(fd, &unix.SockaddrInet6{Addr: loopback}))
	must(unix.Listen(fd, 0))
	bound, err := unix.Getsockname(fd)
	must(err)
	for range 3 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		must(err)
		t.Cleanup(func() { unix.Close(fd) })
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: bound.(*unix.SockaddrInet6).Port})
		if err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
	}
}

// TestDiagReachesOtherNamespaces: sock_diag gives the sockets of every
// namespace, of those that a task lives in and of those that a mount holds.
// TestDiagInfo: cookie and counters are those that the socket itself tells.
func TestDiagInfo(t *testing.T) {
	ns := testns.New(t)
	ns.Do(t, func() error {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer listener.Close()
		client, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			return err
		}
		defer client.Close()
		server, err := listener.Accept()
		if err != nil {
			return err
		}
		defer server.Close()
		_, written := client.Write(make([]byte, 1000))
		_, read := io.ReadFull(server, make([]byte, 1000))
		time.Sleep(50 * time.Millisecond) // the last acknowledgement
		self, opened := procdir.Open("/proc/thread-self")
		if err := errors.Join(written, read, opened); err != nil {
			return err
		}
		defer self.Close()
		var diag tables
		if err := readDiag(&diag, self, ns.Inode); err != nil {
			return err
		}
		for _, conn := range []net.Conn{client, server} {
			raw, err := conn.(*net.TCPConn).SyscallConn()
			if err != nil {
				return err
			}
			var cookie uint64
			var info *unix.TCPInfo
			if err := raw.Control(func(fd uintptr) {
				cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE)
				if err == nil {
					info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
				}
			}); err != nil {
				return err
			}
			if err != nil {
				return err
			}
			i := slices.IndexFunc(diag.rows, func(row Row) bool { return row.Cookie == cookie })
			if i < 0 {
				t.Errorf("no row has the cookie %d", cookie)
				continue
			}
			want := Info{RTT: info.Rtt, Retransmits: info.Total_retrans, Unacked: info.Unacked, BytesAcked: info.Bytes_acked,
				BytesReceived: info.Bytes_received, BytesSent: info.Bytes_sent, BytesRetransmitted: info.Bytes_retrans}
			if got := diag.rows[i].Info; got != want || got.RTT == 0 || got.BytesSent+got.BytesReceived != 1000 {
				t.Errorf("sock_diag tells %+v, the socket %+v", got, want)
			}
		}
		return nil
	})
}

func TestDiagReachesOtherNamespaces(t *testing.T) {
	mounted := testns.New(t)
	lived := testns.New(t)
	var address string
	lived.Do(t, func() (err error) {
		address, err = startChild(t)
		return err
	})
	table := read(t, &Reader{Proc: "/proc"})
	if table.NoDiag != nil {
		t.Errorf("sock_diag was not used everywhere: %v", table.NoDiag)
	}
	if findRow(table, lived.Inode, address, (*Row).IsTCPListener) == nil || netnsOf(table, mounted.Inode) == nil {
		t.Errorf("sockets are missing: %v", table.Rows)
	}
}

// TestReadWithoutDiag reads /proc where sock_diag has nothing to give, and says so.
func TestReadWithoutDiag(t *testing.T) {
	row := formatRow(1, "0100007F:0001", "0100007F:0002", 1, 7)
	table := read(t, &Reader{Proc: fakeProc(t, map[string]string{"tcp": header + row, "udp": header})})
	if !errors.Is(table.NoDiag, errForeignProc) || len(table.Rows) != 1 {
		t.Errorf("%d rows and %v, want one and %v", len(table.Rows), table.NoDiag, errForeignProc)
	}

	lived := testns.New(t)
	var address string
	lived.Do(t, func() (err error) {
		address, err = startChild(t)
		return err
	})
	out := readWithoutAdmin(t)
	for _, want := range []string{fmt.Sprintf("%d task \n", lived.Inode), address + " listen\n", "no sock_diag: entering a network namespace (it takes CAP_SYS_ADMIN)"} {
		if !strings.Contains(out, want) {
			t.Errorf("a reader without CAP_SYS_ADMIN says\n%swant %q", out, want)
		}
	}
}

// message makes one of netlink.
func message(kind, flags uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	return append(append(b, make([]byte, 8)...), body...)
}

// diagRow makes a struct inet_diag_msg of an IPv4 socket.
func diagRow(state State) []byte {
	m := make([]byte, diagLength)
	m[diagFamily], m[diagState] = unix.AF_INET, byte(state)
	copy(m[diagSource:], []byte{127, 0, 0, 1})
	copy(m[diagDestination:], []byte{127, 0, 0, 2})
	binary.BigEndian.PutUint16(m[diagSourcePort:], 80)
	binary.NativeEndian.PutUint32(m[diagInode:], 7)
	return m
}

func TestParseDiag(t *testing.T) {
	good := message(tcpDiagGetSock, unix.NLM_F_MULTI, diagRow(Established))
	errno := func(e unix.Errno) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(-int32(e))) }
	family := diagRow(Established)
	family[diagFamily] = unix.AF_UNIX
	for name, test := range map[string]struct {
		answer []byte
		rows   int
		bad    []Cause
		done   bool
		err    string
	}{
		"rows":            {slices.Concat(good, good), 2, nil, false, ""},
		"the end":         {slices.Concat(good, message(unix.NLMSG_DONE, 0, errno(0))), 1, nil, true, ""},
		"a bare end":      {message(unix.NLMSG_DONE, 0, nil), 0, nil, true, ""},
		"a failed end":    {message(unix.NLMSG_DONE, 0, errno(unix.ENOMEM)), 0, nil, true, "cannot allocate memory"},
		"no module":       {message(unix.NLMSG_ERROR, 0, errno(unix.ENOENT)), 0, nil, true, "tcp_diag is missing"},
		"denied":          {message(unix.NLMSG_ERROR, 0, errno(unix.EPERM)), 0, nil, true, "not permitted"},
		"no reason":       {message(unix.NLMSG_ERROR, 0, nil), 0, nil, true, "without saying why"},
		"interrupted":     {message(tcpDiagGetSock, unix.NLM_F_DUMP_INTR, diagRow(Established)), 0, nil, false, errInterrupted.Error()},
		"a short row":     {slices.Concat(message(tcpDiagGetSock, 0, make([]byte, diagLength-4)), good), 1, []Cause{CauseRowShort}, false, ""},
		"no address":      {slices.Concat(message(tcpDiagGetSock, 0, family), good), 1, []Cause{CauseRowAddress}, false, ""},
		"no state":        {slices.Concat(message(tcpDiagGetSock, 0, diagRow(0)), good), 1, []Cause{CauseRowRange}, false, ""},
		"a strange state": {message(tcpDiagGetSock, 0, diagRow(highestState+1)), 0, []Cause{CauseRowRange}, false, ""},
		"half a header":   {good[:10], 0, nil, false, "are no message"},
		"cut":             {good[:len(good)-1], 0, nil, false, "says it has 88 bytes, of 87"},
		"too small":       {make([]byte, 16), 0, nil, false, "says it has 0 bytes"},
		"another kind":    {message(99, 0, nil), 0, nil, false, "type 99"},
	} {
		t.Run(name, func(t *testing.T) {
			var got collected
			done, err := parseDiag(test.answer, &got)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if len(got.rows) != test.rows || !slices.Equal(got.bad, test.bad) || done != test.done {
				t.Errorf("%d rows, faults %v, done %v; want %d, %v, %v", len(got.rows), got.bad, done, test.rows, test.bad, test.done)
			}
		})
	}
}

func FuzzParseDiag(f *testing.F) {
	f.Add(message(tcpDiagGetSock, 0, diagRow(Listen)))
	mapped := diagRow(Listen)
	mapped[diagFamily] = unix.AF_INET6
	copy(mapped[diagSource:], bytes.Repeat([]byte{0}, 10))
	f.Add(slices.Concat(message(tcpDiagGetSock, 0, mapped), message(unix.NLMSG_DONE, 0, nil)))
	f.Add(message(unix.NLMSG_ERROR, 0, []byte{1, 2, 3, 4}))
	f.Fuzz(func(t *testing.T, answer []byte) {
		var got collected
		parseDiag(answer, &got)
		if n := len(got.rows) + len(got.bad); n > len(answer)/unix.NLMSG_HDRLEN {
			t.Errorf("%d rows and faults in %d bytes", n, len(answer))
		}
		for _, row := range got.rows {
			if !row.Local.IsValid() || row.Local.Addr().Is4() != row.Remote.Addr().Is4() || row.Local.Addr().Is4In6() {
				t.Errorf("row %v has impossible ends", row)
			}
		}
	})
}
