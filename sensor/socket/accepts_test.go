package socket

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
)

func TestParseAccepts(t *testing.T) {
	known := func(overflows, drops uint64) Accepts { return Accepts{overflows, drops, true} }
	for name, tt := range map[string]struct {
		text string
		want Accepts
	}{
		"both":          {"IpExt: A\nIpExt: 7\nTcpExt: X ListenOverflows ListenDrops Y\nTcpExt: 1 20 30 4\n", known(20, 30)},
		"other order":   {"TcpExt: ListenDrops ListenOverflows\nTcpExt: 3 2\n", known(2, 3)},
		"no end":        {"TcpExt: ListenOverflows ListenDrops\nTcpExt: 2 3", known(2, 3)},
		"nothing":       {"", Accepts{}},
		"another table": {"IpExt: ListenOverflows ListenDrops\nIpExt: 2 3\n", Accepts{}},
		"one missing":   {"TcpExt: ListenOverflows\nTcpExt: 2\n", Accepts{Overflows: 2}},
		"cut":           {"TcpExt: ListenOverflows ListenDrops\nTcpExt: 2\n", Accepts{Overflows: 2}},
		"no values":     {"TcpExt: ListenOverflows ListenDrops\n", Accepts{}},
		"no number":     {"TcpExt: ListenOverflows ListenDrops\nTcpExt: 2 -3\n", Accepts{}},
	} {
		if got := parseAccepts([]byte(tt.text)); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// TestAcceptsOfAFullQueue: a listener that accepts nothing, in a namespace that a
// mount holds, loses the connections that come after its queue is full.
func TestAcceptsOfAFullQueue(t *testing.T) {
	ns := testns.New(t)
	reader := &Reader{Proc: "/proc"}
	before := netnsOf(read(t, reader), ns.Inode)
	if before == nil || before.Accepts != (Accepts{Known: true}) {
		t.Fatalf("before: %+v", before)
	}
	ns.Do(t, func() error {
		listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(listener) })
		loopback := &unix.SockaddrInet4{Port: 9000, Addr: [4]byte{127, 0, 0, 1}}
		if err := unix.Bind(listener, loopback); err != nil {
			return err
		}
		if err := unix.Listen(listener, 0); err != nil {
			return err
		}
		for range 5 {
			client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			t.Cleanup(func() { unix.Close(client) })
			if err := unix.Connect(client, loopback); err != nil && err != unix.EINPROGRESS {
				return err
			}
		}
		return nil
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		got := netnsOf(read(t, reader), ns.Inode).Accepts
		if got.Overflows > 0 && got.Drops >= got.Overflows {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the queue is full, and the counters are %+v", got)
		}
	}
}

// FuzzAccepts: counters that are known stand in the text, under their names.
func FuzzAccepts(f *testing.F) {
	f.Add([]byte("TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 3 4\nIpExt: InNoRoutes\nIpExt: 0\n"))
	f.Add([]byte("TcpExt: ListenOverflows ListenDrops\nTcpExt: 18446744073709551616 -1"))
	f.Add([]byte("TcpExt: ListenDrops ListenDrops\nTcpExt:"))
	f.Fuzz(func(t *testing.T, text []byte) {
		accepts := parseAccepts(text)
		for name, n := range map[string]uint64{"ListenOverflows": accepts.Overflows, "ListenDrops": accepts.Drops} {
			if accepts.Known && (!bytes.Contains(text, []byte(name)) || n != 0 && !bytes.ContainsAny(text, "123456789")) {
				t.Errorf("%s is %d in %q", name, n, text)
			}
		}
	})
}
