// Package testns gives tests network namespaces of their own. Everything it
// makes ends with the test: nothing is left mounted, and no namespace stays.
package testns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// NS is a network namespace with its loopback up.
type NS struct {
	// Inode of its nsfs file, as in net:[4026531840].
	Inode uint64
	// Path of a file that leads into it.
	Path string
}

// SkipUnlessRoot skips a test that has no right to make namespaces.
func SkipUnlessRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root (CAP_SYS_ADMIN)")
	}
}

// New makes a namespace that only a mount holds: no thread lives in it.
func New(t testing.TB) *NS {
	t.Helper()
	SkipUnlessRoot(t)
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ns := &NS{Path: path}
	mounted := false
	err := onThread(func() error {
		if err := ns.unshare(); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting the network namespace at %s: %w", path, err)
		}
		mounted = true
		return nil
	})
	if mounted {
		t.Cleanup(func() {
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
				t.Errorf("unmounting the network namespace at %s: %v", path, err)
			}
		})
	}
	check(t, err)
	return ns
}

// NewUnnamed makes a namespace that only one thread of this process lives in;
// it ends with release, or with the test.
func NewUnnamed(t testing.TB) (ns *NS, release func()) {
	t.Helper()
	SkipUnlessRoot(t)
	ns = &NS{}
	ready, end, ended := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		err := onThread(func() error {
			err := ns.unshare()
			ns.Path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
			ready <- err
			<-end
			return err
		})
		_ = err // ready has told it
	}()
	released := false
	release = func() {
		if !released {
			released = true
			close(end)
			<-ended
		}
	}
	t.Cleanup(release)
	check(t, <-ready)
	return ns, release
}

// unshare moves the calling thread into a new namespace.
func (ns *NS) unshare() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &stat); err != nil {
		return err
	}
	ns.Inode = stat.Ino
	return LoopbackUp()
}

// Do calls f on a thread in the namespace. Sockets that it opens stay there;
// processes that it starts live there. It must not call t.Fatal.
func (ns *NS) Do(t testing.TB, f func() error) {
	t.Helper()
	check(t, onThread(func() error {
		fd, err := unix.Open(ns.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening %s: %w", ns.Path, err)
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering %s: %w", ns.Path, err)
		}
		return f()
	}))
}

// ChurnPort is where what [NS.Churn] makes is listened for.
const ChurnPort = 9999

// Churn makes a number of connections over loopback in the namespace, one after the
// other as fast as it can, until stop is closed. It resets them, so that ports do not
// run out.
func (ns *NS) Churn(t testing.TB, connections int, stop <-chan struct{}) {
	t.Helper()
	ns.Do(t, func() error {
		listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(listener)
		address := &unix.SockaddrInet4{Port: ChurnPort, Addr: [4]byte{127, 0, 0, 1}}
		if err := errors.Join(unix.Bind(listener, address), unix.Listen(listener, 16)); err != nil {
			return err
		}
		for range connections {
			select {
			case <-stop:
				return nil
			default:
			}
			if err := connectAndReset(listener, address); err != nil {
				return err
			}
		}
		return nil
	})
}

func connectAndReset(listener int, address unix.Sockaddr) error {
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = errors.Join(unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}), unix.Connect(client, address))
	if err != nil {
		return errors.Join(err, unix.Close(client))
	}
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return errors.Join(err, unix.Close(client))
	}
	return errors.Join(unix.Close(client), unix.Close(server)) // the reset first
}

// Pair joins two namespaces by a veth link, and returns the address of each
// end. The link ends with either namespace. number, 0 to 63, tells the pairs of
// a test apart.
func Pair(t testing.TB, a, b *NS, number int) (ofA, ofB netip.Addr) {
	t.Helper()
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("veth pairs need the ip command of iproute2")
	}
	prefix := netip.AddrFrom4([4]byte{10, 213, byte(number), 0})
	ofA, ofB = prefix.Next(), prefix.Next().Next()
	link, peer := fmt.Sprintf("va%d", number), fmt.Sprintf("vb%d", number)
	a.Do(t, func() error {
		return errors.Join(
			run(ip, "link", "add", link, "type", "veth", "peer", "name", peer, "netns", b.Path),
			run(ip, "addr", "add", ofA.String()+"/30", "dev", link),
			run(ip, "link", "set", link, "up"))
	})
	b.Do(t, func() error {
		return errors.Join(
			run(ip, "addr", "add", ofB.String()+"/30", "dev", peer),
			run(ip, "link", "set", peer, "up"))
	})
	return ofA, ofB
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return nil
}

// SetEphemeralPorts sets the range from which the namespace gives out ports.
func (ns *NS) SetEphemeralPorts(t testing.TB, first, last uint16) {
	t.Helper()
	ns.Do(t, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(strconv.Itoa(int(first))+" "+strconv.Itoa(int(last))), 0)
	})
}

// LoopbackUp sets IFF_UP on lo in the namespace of the calling thread.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket to set lo up: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}

// onThread calls f on a thread that ends with it, so that no namespace leaks
// into other work. The first thread of the process is spared: it cannot end.
func onThread(f func() error) error {
	result := make(chan error, 1)
	var start func()
	start = func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			result <- f()
			return // still locked: the thread ends
		}
		next := make(chan struct{})
		go func() {
			defer close(next)
			start()
		}()
		<-next
		runtime.UnlockOSThread()
	}
	go start()
	return <-result
}

// check skips where the machine forbids namespaces to root, as in a container.
func check(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, unix.EPERM) {
		t.Skipf("network namespaces are not permitted here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Gone waits up to two seconds for the namespace to end, and reports whether no
// thread and no mount of this process leads to it any more.
func Gone(ns *NS) bool {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if !held(ns) {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func held(ns *NS) bool {
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, path := range append(tasks, ns.Path) {
		var stat unix.Stat_t
		var kind unix.Statfs_t
		if unix.Stat(path, &stat) == nil && unix.Statfs(path, &kind) == nil && kind.Type == unix.NSFS_MAGIC && stat.Ino == ns.Inode {
			return true
		}
	}
	return false
}
