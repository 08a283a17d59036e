package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
)

func read(t testing.TB, r *Reader) *Table {
	t.Helper()
	table := &Table{}
	if err := r.Read(table); err != nil {
		t.Fatal(err)
	}
	return table
}

func findRow(table *Table, netns uint64, local string, where func(*Row) bool) *Row {
	end := netip.MustParseAddrPort(local)
	for i := range table.Rows {
		row := &table.Rows[i]
		if (netns == 0 || row.Netns == netns) && row.Local == end && where(row) {
			return row
		}
	}
	return nil
}

func netnsOf(table *Table, inode uint64) *Namespace {
	if i := indexOf(table.Seen, inode); i >= 0 {
		return &table.Seen[i]
	}
	return nil
}

func inodeOf(t *testing.T, conn syscall.Conn) uint64 {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &stat) })
	if err != nil {
		t.Fatal(err)
	}
	return stat.Ino
}

func TestReadSocketsOfEveryKind(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	bound, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer bound.Close()
	connected, err := net.Dial("udp4", bound.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	table := read(t, &Reader{Proc: "/proc"})

	row := findRow(table, 0, listener.Addr().String(), (*Row).IsTCPListener)
	if row == nil || row.Inode != inodeOf(t, listener.(*net.TCPListener)) || row.Family() != "ipv4" {
		t.Errorf("listener: %+v", row)
	}
	row = findRow(table, 0, client.LocalAddr().String(), (*Row).IsConnection)
	if row == nil || row.Remote.String() != client.RemoteAddr().String() || row.State != Established || row.UID != uint32(os.Getuid()) {
		t.Errorf("connection: %+v", row)
	}
	row = findRow(table, 0, bound.LocalAddr().String(), (*Row).IsUDPListener)
	if row == nil || !row.Ephemeral || row.Inode != inodeOf(t, bound.(*net.UDPConn)) {
		t.Errorf("UDP listener: %+v", row)
	}
	row = findRow(table, 0, connected.LocalAddr().String(), func(r *Row) bool { return r.Protocol == UDP })
	if row == nil || row.IsUDPListener() || row.Remote.String() != bound.LocalAddr().String() {
		t.Errorf("connected UDP: %+v", row)
	}
}

func TestReadIPv6AndMapped(t *testing.T) {
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	defer listener.Close()
	both, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer both.Close()
	client, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", both.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := both.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	table := read(t, &Reader{Proc: "/proc"})
	if row := findRow(table, 0, listener.Addr().String(), (*Row).IsTCPListener); row == nil || row.Family() != "ipv6" {
		t.Errorf("listener: %+v", row)
	}
	row := findRow(table, 0, client.RemoteAddr().String(), (*Row).IsConnection)
	if row == nil || row.Family() != "ipv4" || !row.V4Mapped || row.Remote.String() != client.LocalAddr().String() {
		t.Errorf("mapped connection: %+v", row)
	}
}

func TestReadEveryNamespace(t *testing.T) {
	mounted := testns.New(t)
	mounted.SetEphemeralPorts(t, 20000, 20999)
	unnamed, _ := testns.NewUnnamed(t)
	lived := testns.New(t)
	var inMounted, inUnnamed net.PacketConn
	mounted.Do(t, func() (err error) {
		inMounted, err = net.ListenPacket("udp4", "127.0.0.1:0")
		return err
	})
	defer inMounted.Close()
	unnamed.SetEphemeralPorts(t, 30000, 30999)
	unnamed.Do(t, func() (err error) {
		inUnnamed, err = net.ListenPacket("udp4", "127.0.0.1:0")
		return err
	})
	defer inUnnamed.Close()
	var ofChild string
	lived.Do(t, func() (err error) {
		ofChild, err = startChild(t)
		return err
	})
	table := read(t, &Reader{Proc: "/proc"})
	for _, test := range []struct {
		ns     *testns.NS
		holder Holder
		local  string
	}{{mounted, HeldByMount, inMounted.LocalAddr().String()}, {unnamed, HeldByTask, inUnnamed.LocalAddr().String()}, {lived, HeldByTask, ofChild}} {
		seen := netnsOf(table, test.ns.Inode)
		if seen == nil || seen.Holder != test.holder || seen.Missing != "" {
			t.Errorf("namespace held by %v: %+v", test.holder, seen)
			continue
		}
		row := findRow(table, test.ns.Inode, test.local, func(r *Row) bool { return r.IsTCPListener() || r.IsUDPListener() })
		if row == nil {
			t.Errorf("%s is missing in the namespace held by %v", test.local, test.holder)
		} else if row.Protocol == UDP && (!row.Ephemeral || seen.EphemeralAssumed) {
			t.Errorf("port of %s is not known as ephemeral in %+v", test.local, seen)
		}
	}
	if table.Namespaces != len(table.Seen) {
		t.Errorf("%d of %d namespaces read", table.Namespaces, len(table.Seen))
	}
}

func TestReadDoesNotMoveAnyThread(t *testing.T) {
	for range 5 {
		testns.New(t)
	}
	before := threadNamespaces(t)
	r := &Reader{Proc: "/proc"}
	for range 20 {
		read(t, r)
	}
	if after := threadNamespaces(t); len(before) != 1 || len(after) != 1 {
		t.Errorf("namespaces of the threads of this process: %v before, %v after", before, after)
	}
}

// threadNamespaces waits for threads that are about to end, such as those that
// made namespaces.
func threadNamespaces(t *testing.T) map[string]int {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		found := map[string]int{}
		links, _ := filepath.Glob("/proc/self/task/*/ns/net")
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil {
				found[target]++
			}
		}
		if len(found) == 1 || time.Now().After(deadline) {
			return found
		}
	}
}

// TestReadWhileNamespacesComeAndGo reads while 50 namespaces are made and
// ended: what was there all the time must be in each read.
func TestReadWhileNamespacesComeAndGo(t *testing.T) {
	testns.SkipUnlessRoot(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		defer close(done)
		for i := range 50 {
			t.Run("", func(t *testing.T) {
				if i%2 == 0 {
					testns.New(t)
					return
				}
				_, release := testns.NewUnnamed(t)
				runtime.Gosched()
				release()
			})
		}
	})
	defer churn.Wait()
	// A process with more rights than the test is denied to it at each read.
	still := &Reader{Proc: "/proc"}
	read(t, still)
	denied := still.Stats().Counts[CauseNamespaceDenied]
	r := &Reader{Proc: "/proc"}
	table := &Table{}
	for reads := uint64(0); ; reads++ {
		select {
		case <-done:
			t.Logf("%d reads, %v", reads, r.Stats())
			counts := r.Stats().Counts
			if counts[CauseTableUnreadable] != 0 || counts[CauseNamespaceDenied] > (reads+1)*denied {
				t.Errorf("an ending namespace was taken for an unreadable one: %v", r.Stats())
			}
			return
		default:
		}
		if err := r.Read(table); err != nil {
			t.Fatal(err)
		}
		if findRow(table, 0, listener.Addr().String(), (*Row).IsTCPListener) == nil {
			t.Fatal("the listener is missing")
		}
	}
}

// fakeProc makes a procfs with one process, in namespace 1, and the given tables.
func fakeProc(t *testing.T, tables map[string]string) string {
	t.Helper()
	proc := t.TempDir()
	task := filepath.Join(proc, "100/task/100")
	for _, dir := range []string{task + "/ns", task + "/net", filepath.Join(proc, "100/ns")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("net:[1]", task+"/ns/net"); err != nil {
		t.Fatal(err)
	}
	for name, text := range tables {
		if err := os.WriteFile(task+"/net/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

func TestReadCountsByCause(t *testing.T) {
	text, err := os.ReadFile("testdata/tcp")
	if err != nil {
		t.Fatal(err)
	}
	r := &Reader{Proc: fakeProc(t, map[string]string{"tcp": string(text), "udp": header, "tcp6": ""})}
	for n := uint64(1); n <= 2; n++ {
		table := read(t, r)
		if len(table.Rows) != 3 || table.Namespaces != 1 {
			t.Fatalf("%d rows of %d namespaces, want 3 of 1", len(table.Rows), table.Namespaces)
		}
		stats := r.Stats()
		for cause, want := range map[Cause]uint64{CauseRowShort: 4, CauseRowNumber: 1, CauseRowRange: 1, CauseRowAddress: 1, CauseTableUnreadable: 1, CauseNamespaceGone: 0} {
			if got := stats.Counts[cause]; got != n*want {
				t.Errorf("read %d: %s is %d, want %d", n, cause, got, n*want)
			}
		}
		if first := stats.First[CauseRowRange]; !strings.Contains(first, "11170") || len(first) > longestText+2 {
			t.Errorf("first row out of range: %s", first)
		}
		if first := stats.First[CauseTableUnreadable]; !strings.Contains(first, "tcp6") {
			t.Errorf("first unreadable table: %s", first)
		}
	}
}

func TestReadShowsASocketOnce(t *testing.T) {
	row := formatRow(1, "0100007F:0001", "0100007F:0002", 1, 7)
	kernels := formatRow(2, "00000000:0868", "00000000:0000", 7, 0)
	r := &Reader{Proc: fakeProc(t, map[string]string{"tcp": header + row + row, "udp": header + kernels + kernels})}
	table := read(t, r)
	if len(table.Rows) != 3 {
		t.Errorf("%d rows, want one of the socket and both of the kernel: %v", len(table.Rows), table.Rows)
	}
}

func TestReadSaysThatNothingCanBeRead(t *testing.T) {
	for name, proc := range map[string]string{
		"no such directory": filepath.Join(t.TempDir(), "proc"),
		"no process":        t.TempDir(),
		"no table":          fakeProc(t, nil),
	} {
		err := (&Reader{Proc: proc}).Read(&Table{})
		if err == nil || !strings.Contains(err.Error(), proc) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Reader{Proc: "/proc"}).ReadContext(ctx, &Table{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}

// readWithoutAdmin reads in a process without CAP_SYS_ADMIN.
func readWithoutAdmin(t *testing.T) string {
	t.Helper()
	result := make(chan error)
	var out []byte
	go func() {
		runtime.LockOSThread() // never unlocked: the right is gone for good
		result <- func() (err error) {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0); err != nil {
				return err
			}
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), asChild+"="+toRead)
			out, err = child.CombinedOutput()
			return err
		}()
	}()
	if err := <-result; err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// TestReadWithoutAdmin: a namespace that only a mount holds is named as
// missing, and the others are there.
func TestReadWithoutAdmin(t *testing.T) {
	mounted := testns.New(t)
	out := readWithoutAdmin(t)
	want := fmt.Sprintf("%d mount %s\n", mounted.Inode, CauseNamespaceDenied)
	if !strings.Contains(out, want) {
		t.Errorf("seen\n%swant a line %s", out, want)
	}
	if !strings.Contains(out, " task \n") {
		t.Errorf("seen\n%swant a namespace that was read", out)
	}
}

func TestHeldByMounts(t *testing.T) {
	const text = `24 1 0:22 / /proc rw,relatime - proc proc rw
300 24 0:4 net:[4026532177] /run/netns/with\040blank rw shared:1 - nsfs nsfs rw
301 24 0:4 net:[x] /run/netns/letters rw - nsfs nsfs rw
302 24 0:4 mnt:[4026532178] /run/mntns/other rw - nsfs nsfs rw
303 24 0:22 / /odd net:[4026532179] /x rw - proc proc rw
304 24 0:4 net:[4026532180]
305 24 0:4 net:[4026532181] /last`
	found := map[uint64]string{}
	heldByMounts([]byte(text), func(inode uint64, path []byte) { found[inode] = string(path) })
	want := map[uint64]string{4026532177: "/run/netns/with blank", 4026532181: "/last"}
	if fmt.Sprint(found) != fmt.Sprint(want) {
		t.Errorf("found %v, want %v", found, want)
	}
}
