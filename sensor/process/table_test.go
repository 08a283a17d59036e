package process

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asChild makes the test binary hold a listener on descriptor 3 until its input
// is closed.
const asChild = "NETVIEW_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) == "" {
		os.Exit(m.Run())
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

func scan(t testing.TB, table *Table) {
	t.Helper()
	if err := table.Scan(); err != nil {
		t.Fatal(err)
	}
}

func owner(t *testing.T, table *Table, inode uint64) Identity {
	t.Helper()
	identity, known := table.Owner(inode)
	if !known {
		t.Fatalf("socket %d has no owner", inode)
	}
	return identity
}

// listen opens a socket, and returns its inode.
func listen(t *testing.T) (*os.File, uint64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	t.Cleanup(func() { file.Close() })
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	return file, stat.Ino
}

func TestOwnerOfARealSocket(t *testing.T) {
	_, inode := listen(t)
	table := &Table{Proc: "/proc", CommandLine: true}
	scan(t, table)
	got := owner(t, table, inode)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var boot unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	if age := time.Duration(boot.Nano()) - got.StartTime; age < -10*time.Millisecond || age > time.Hour {
		t.Errorf("this process started %v ago", age)
	}
	var netns unix.Stat_t
	unix.Stat("/proc/self/ns/net", &netns)
	if got.PID != uint32(os.Getpid()) || got.Binary != binary || got.UID != uint32(os.Geteuid()) || got.Netns != netns.Ino ||
		got.CommandLine != strings.Join(os.Args, " ") || !strings.HasPrefix(filepath.Base(binary), got.Name[:min(len(got.Name), 7)]) {
		t.Errorf("this process is taken for %+v", got)
	}
	if named, err := table.Process(uint32(os.Getpid())); err != nil || named != got {
		t.Errorf("by its pid it is %+v, error %v", named, err)
	}
}

// TestSharedSocketBelongsToTheOldest shares a socket with a child, and then
// leaves it to the child.
func TestSharedSocketBelongsToTheOldest(t *testing.T) {
	file, inode := listen(t)
	child := exec.Command(os.Args[0])
	child.Env, child.ExtraFiles = append(os.Environ(), asChild+"=1"), []*os.File{file}
	in, _ := child.StdinPipe()
	out, _ := child.StdoutPipe()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	out.Read(make([]byte, 16))
	table := &Table{Proc: "/proc"}
	scan(t, table)
	if got := owner(t, table, inode); got.PID != uint32(os.Getpid()) {
		t.Errorf("owner is %d, want the parent %d", got.PID, os.Getpid())
	}
	file.Close()
	scan(t, table)
	if got := owner(t, table, inode); got.PID != uint32(child.Process.Pid) {
		t.Errorf("owner is %d, want the child %d", got.PID, child.Process.Pid)
	}
	in.Close()
	child.Wait()
	scan(t, table)
	if got, known := table.Owner(inode); known {
		t.Errorf("the socket has ended, and belongs to %+v", got)
	}
}

func TestOwnerByStartThenPID(t *testing.T) {
	proc := t.TempDir()
	fake{pid: 10, ticks: 500, name: "young", sockets: []int{1}}.write(t, proc)
	fake{pid: 20, ticks: 400, name: "old", sockets: []int{1, 2}}.write(t, proc)
	fake{pid: 30, ticks: 400, name: "as old", sockets: []int{1, 2}}.write(t, proc)
	table := &Table{Proc: proc}
	scan(t, table)
	for _, inode := range []uint64{1, 2} {
		if got := owner(t, table, inode); got.PID != 20 || got.StartTime != 4*time.Second {
			t.Errorf("socket %d belongs to %+v, want process 20", inode, got)
		}
	}
	if _, known := table.Owner(0); known {
		t.Error("a kernel socket has an owner")
	}
}

func TestIdentity(t *testing.T) {
	proc := t.TempDir()
	passwd(t, proc, "root:x:0:0::/root:/bin/sh\nbad line\n#off:x:1000:\nweb:x:1000:1000::/:/bin/false\nsecond:x:1000:1::/:/x\nlong:x:99999999999:1::/:/x\n")
	fake{pid: 10, ticks: 1234, name: "a) S (b", exe: "/usr/bin/web (deleted)", uid: 1000, cgroup: "0::/docker/" + id + "\n",
		cmdline: "web\x00--password=hunter2\x00-v\x00", sockets: []int{5}}.write(t, proc)
	rule := regexp.MustCompile(`(--password=)\S+`)
	table := &Table{Proc: proc, CommandLine: true, Scrub: func(line string) string { return rule.ReplaceAllString(line, "$1***") }}
	scan(t, table)
	want := Identity{PID: 10, StartTime: 12340 * time.Millisecond, Binary: "/usr/bin/web", BinaryDeleted: true, Name: "a) S (b", UID: 1000, User: "web",
		Cgroup: "/docker/" + id, ContainerID: id, Netns: 4026531840, CommandLine: "web --password=*** -v"}
	if got := owner(t, table, 5); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := table.User(99); got != "99" {
		t.Errorf("user 99 is %q", got)
	}
	passwd(t, proc, "renamed-since:x:1000:1000::/:/bin/false\n")
	for range scansToRefresh {
		scan(t, table)
	}
	if got := owner(t, table, 5).User; got != "renamed-since" {
		t.Errorf("user is %q after passwd changed", got)
	}
}

func TestReusedPIDIsAnotherProcess(t *testing.T) {
	proc := t.TempDir()
	first := fake{pid: 10, ticks: 100, name: "same", exe: "/bin/same", uid: 1, sockets: []int{5}}
	first.write(t, proc)
	table := &Table{Proc: proc}
	scan(t, table)
	second := first
	second.ticks, second.uid, second.sockets = 200, 2, []int{6}
	second.write(t, proc)
	scan(t, table)
	if got := owner(t, table, 6); got.UID != 2 || got.StartTime != 2*time.Second {
		t.Errorf("the new process is taken for %+v", got)
	}
	if got, known := table.Owner(5); known {
		t.Errorf("the socket of the ended process belongs to %+v", got)
	}
	if len(table.cache) != 1 {
		t.Errorf("%d processes are remembered, want 1", len(table.cache))
	}
}

func TestExecAndLaterChangesAreSeen(t *testing.T) {
	proc := t.TempDir()
	process := fake{pid: 10, ticks: 100, name: "before", exe: "/bin/before", uid: 1, sockets: []int{5}}
	process.write(t, proc)
	table := &Table{Proc: proc}
	scan(t, table)
	process.exe, process.uid = "/bin/after", 2
	process.write(t, proc)
	scan(t, table)
	if got := owner(t, table, 5); got.Binary != "/bin/after" || got.UID != 2 {
		t.Errorf("after exec it is %+v", got)
	}
	process.uid = 3 // setuid, without an exec
	process.write(t, proc)
	for range scansToRefresh {
		scan(t, table)
	}
	if got := owner(t, table, 5); got.UID != 3 {
		t.Errorf("after setuid and %d scans it is %+v", scansToRefresh, got)
	}
}

func TestLossesAreCounted(t *testing.T) {
	proc := t.TempDir()
	fake{pid: 10, ticks: 100, name: "good", sockets: []int{5}}.write(t, proc)
	fake{pid: 20, ticks: 100, name: "no stat", sockets: []int{6}}.write(t, proc)
	fake{pid: 30, ticks: 100, name: "bad stat", sockets: []int{7}}.write(t, proc)
	if err := os.Remove(filepath.Join(proc, "20/stat")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(proc, "30/stat"), []byte("30 (bad"), 0o644); err != nil {
		t.Fatal(err)
	}
	table := &Table{Proc: proc}
	scan(t, table)
	owner(t, table, 5)
	if counts := table.Counts(); counts[CauseGone] != 1 || counts[CauseUnreadable] != 1 || counts[CauseDenied] != 0 {
		t.Errorf("counts %v", counts)
	}
	if err := (&Table{Proc: filepath.Join(proc, "nowhere")}).Scan(); err == nil {
		t.Error("no error without a procfs")
	}
}

// TestVanishingProcesses scans while processes come and go, and asks meanwhile.
func TestVanishingProcesses(t *testing.T) {
	_, inode := listen(t)
	table := &Table{Proc: "/proc"}
	scan(t, table)
	before := table.Counts()
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		defer close(done)
		for range 100 {
			exec.Command("/bin/true").Run()
		}
	})
	running.Go(func() {
		for pid := uint32(1); ; pid = pid%5000 + 1 {
			select {
			case <-done:
				return
			default:
				table.Process(pid)
				table.Owner(inode)
			}
		}
	})
	scans := uint64(0)
	for running := true; running; scans++ {
		select {
		case <-done:
			running = false
		default:
		}
		scan(t, table)
		owner(t, table, inode)
	}
	running.Wait()
	t.Logf("%d scans: %v", scans, table.Counts())
	if got := table.Counts()[CauseUnreadable] - before[CauseUnreadable]; got != 0 {
		t.Errorf("%d ended processes were taken for unreadable ones", got)
	}
}

func TestParseStart(t *testing.T) {
	for _, text := range []string{"", "1", "1 (a", "1 a) S", "1 (a) S 1 2 3", "1 (a) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 x 0",
		"1 (a) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 18446744073709551615 0"} {
		if got, err := parseStart([]byte(text)); err == nil {
			t.Errorf("%q gives %v", text, got)
		}
	}
	if _, ok := effectiveUID([]byte("Name:\tx\nUid:\t1\n")); ok {
		t.Error("a line with one uid has an effective one")
	}
}

func TestProcessWithoutSocketsIsNotRemembered(t *testing.T) {
	proc := t.TempDir()
	fake{pid: 10, ticks: 100, name: "no socket"}.write(t, proc)
	table := &Table{Proc: proc}
	scan(t, table)
	if len(table.cache) != 0 {
		t.Errorf("%d processes are remembered, want none", len(table.cache))
	}
}

// TestTextThatOthersChoose: what any user can put into names and command lines
// must not make a record that collectors refuse, nor a snapshot without end.
func TestTextThatOthersChoose(t *testing.T) {
	proc := t.TempDir()
	long := "run\x00" + strings.Repeat("é", longestCommandLine)
	for i, tt := range []struct {
		process fake
		want    Identity
	}{
		{fake{name: "caf\xc3", exe: "/opt/\xff (deleted)", cmdline: "a\x00\xfe\x00b\x00"}, Identity{Name: "caf\uFFFD", Binary: "/opt/\uFFFD", CommandLine: "a \uFFFD b"}},
		{fake{name: "café", exe: "/opt/é", cmdline: long}, Identity{Name: "café", Binary: "/opt/é", CommandLine: strings.ReplaceAll(long[:longestCommandLine], "\x00", " ")}},
		// Cut between two characters, not in one.
		{fake{name: "x", exe: "/x", cmdline: "x" + long}, Identity{Name: "x", Binary: "/x", CommandLine: "x" + strings.ReplaceAll(long[:longestCommandLine-2], "\x00", " ")}},
		// A secret that reaches beyond the end is seen whole by the rule.
		{fake{name: "y", exe: "/y", cmdline: strings.Repeat("y", longestCommandLine-10) + "\x00token=" + strings.Repeat("s", 100) + ";"},
			Identity{Name: "y", Binary: "/y", CommandLine: strings.Repeat("y", longestCommandLine-10) + " ***"}},
	} {
		tt.process.pid, tt.process.sockets, tt.process.cgroup = 100+i, []int{i + 1}, "0::/\n"
		tt.process.write(t, proc)
		table := &Table{Proc: proc, CommandLine: true, Scrub: func(line string) string { return regexp.MustCompile(`token=\w+;`).ReplaceAllString(line, "***") }}
		scan(t, table)
		if got := owner(t, table, uint64(i+1)); got.Name != tt.want.Name || got.Binary != tt.want.Binary || got.CommandLine != tt.want.CommandLine {
			t.Errorf("process %d is %q at %q with %.60q (%d bytes)\nwant %q at %q with %.60q (%d bytes)", i, got.Name, got.Binary, got.CommandLine, len(got.CommandLine),
				tt.want.Name, tt.want.Binary, tt.want.CommandLine, len(tt.want.CommandLine))
		}
	}
}
