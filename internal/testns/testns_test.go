package testns

import (
	"net"
	"os"
	"testing"
	"time"
)

func TestNamespaceLivesAsLongAsItsTest(t *testing.T) {
	SkipUnlessRoot(t)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var mounted, unnamed *NS
	t.Run("alive", func(t *testing.T) {
		mounted = New(t)
		unnamed, _ = NewUnnamed(t)
		for _, ns := range []*NS{mounted, unnamed} {
			ns.Do(t, func() error {
				listener, err := net.Listen("tcp", "127.0.0.1:0") // loopback is up
				if err != nil {
					return err
				}
				defer listener.Close()
				conn, err := net.DialTimeout("tcp", listener.Addr().String(), time.Second)
				if err != nil {
					return err
				}
				return conn.Close()
			})
			if !held(ns) {
				t.Errorf("namespace %d ended before its test", ns.Inode)
			}
		}
	})
	for _, ns := range []*NS{mounted, unnamed} {
		if ns != nil && !Gone(ns) {
			t.Errorf("namespace %d is still there", ns.Inode)
		}
	}
	if now, _ := os.Readlink("/proc/self/ns/net"); now != own {
		t.Errorf("the process moved from %s to %s", own, now)
	}
}

func TestPair(t *testing.T) {
	a, b := New(t), New(t)
	ofA, ofB := Pair(t, a, b, 1)
	var listener net.Listener
	b.Do(t, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(ofB.String(), "0"))
		return err
	})
	defer listener.Close()
	a.Do(t, func() error {
		conn, err := net.DialTimeout("tcp", listener.Addr().String(), 5*time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		if got := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); got != ofA {
			t.Errorf("the connection comes from %v, want %v", got, ofA)
		}
		return nil
	})
}
