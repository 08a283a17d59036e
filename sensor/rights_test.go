package sensor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/sensor/process"
	"github.com/netview-project/netview/sensor/rights"
)

// powerless is a user without rights, stranger another.
const (
	powerless = 65534
	stranger  = 65533
)

// patience bounds every wait.
const patience = 60 * time.Second

// skipUnlessCapable skips where the test's own rights would fake what a sensor's do.
func skipUnlessCapable(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("to start sensors with chosen capabilities needs root")
	}
	all, without := rights.Least()
	for _, name := range append(all, without...) {
		if held, err := cap.GetProc().GetFlag(cap.Effective, capability(t, name)); err != nil || !held {
			t.Skipf("the test has no %s to give to a sensor (%v)", name, err)
		}
	}
}

func capability(t *testing.T, name string) cap.Value {
	t.Helper()
	value, err := cap.FromName(strings.ToLower(name))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// public is a directory that every user may enter, with the sensor in it.
func public(t *testing.T) (dir, file string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "netview-rights-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file = filepath.Join(dir, "netview-sensor")
	program, err := os.ReadFile(testbin.Path(t, "netview-sensor"))
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(file, program, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, file
}

// asPowerless makes a command one of a user with no other rights than these.
func asPowerless(t *testing.T, command *exec.Cmd, capabilities []string) *exec.Cmd {
	t.Helper()
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: powerless, Gid: powerless}}
	for _, name := range capabilities {
		command.SysProcAttr.AmbientCaps = append(command.SysProcAttr.AmbientCaps, uintptr(capability(t, name)))
	}
	command.Env = os.Environ()
	return command
}

// without leaves names out.
func without(list []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return slices.Contains(names, name) })
}

// tasks are the capabilities of each thread, in the words of /proc/PID/status: how
// many threads have the same.
func tasks(t *testing.T, pid int) map[string]int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d has no threads (%v)", pid, err)
	}
	found := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that ended
		}
		found[strings.Join(regexp.MustCompile(`(?m)^(?:Cap|NoNewPrivs).*$`).FindAllString(string(text), -1), " ")]++
	}
	return found
}

// dropped is what [tasks] shall find where these are left, out of a bounding set.
func dropped(t *testing.T, bounding uint64, left ...string) string {
	t.Helper()
	var mask uint64
	for _, name := range left {
		mask |= 1 << capability(t, name)
	}
	return fmt.Sprintf("CapInh:\t%016x CapPrm:\t%016x CapEff:\t%016x CapBnd:\t%016x CapAmb:\t%016x NoNewPrivs:\t1", 0, mask, mask, bounding, 0)
}

// bounding set of the test, which the sensors inherit.
func bounding(t *testing.T) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	mask, err := strconv.ParseUint(regexp.MustCompile(`(?m)^CapBnd:\s*(\w+)$`).FindStringSubmatch(string(text))[1], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return mask
}

// kept are those of the capabilities that the table keeps.
func kept(capabilities []string) (names []string) {
	for _, r := range rights.Table() {
		if r.Kept != "" && slices.Contains(capabilities, r.Name) {
			names = append(names, r.Name)
		}
	}
	return names
}

func checkTasks(t *testing.T, p *testbin.Program, want string) {
	t.Helper()
	if found := tasks(t, p.Command.Process.Pid); len(found) != 1 || found[want] == 0 {
		t.Errorf("the sensor's threads have %v, want\n%s", found, want)
	}
}

// runArguments of a sensor that sends to the collector.
func runArguments(t *testing.T, c *collector, spool string) []string {
	return []string{"--sensor-id", "rights", "--heartbeat.interval", "1s", "--web.listen-address", testbin.FreeAddress(t), "--otlp.endpoint", c.endpoint, "--spool.directory", spool}
}

// newest waits for a complete snapshot, which satisfies f: what it returns is missing.
func newest(t *testing.T, c *collector, f func(*event.Snapshot) string) *event.Snapshot {
	t.Helper()
	var last *event.Snapshot
	testbin.Eventually(t, patience, func() string {
		list, _ := c.snapshots()
		if len(list) == 0 {
			return "a first snapshot"
		}
		last = list[len(list)-1]
		return f(last)
	})
	return last
}

// strangersListener is a socket that only a process of another user has.
func strangersListener(t *testing.T) (pid uint32, port uint16) {
	t.Helper()
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	holder := exec.Command("sleep", "600")
	holder.ExtraFiles = []*os.File{file}
	holder.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	return uint32(holder.Process.Pid), uint16(listener.Addr().(*net.TCPAddr).Port)
}

// listens waits for a listener to be shown with its process.
func listens(t *testing.T, c *collector, port uint16, pid uint32) {
	t.Helper()
	newest(t, c, func(s *event.Snapshot) string {
		for _, l := range s.Listeners {
			if l.LocalPort == port && l.Process.PID == event.Some(pid) && l.Process.Binary != "" {
				return ""
			}
		}
		return fmt.Sprintf("no snapshot shows that process %d listens on port %d", pid, port)
	})
}

// tells waits for the event of a connection that is made in a namespace.
func tells(t *testing.T, c *collector, snapshot *event.Snapshot, ns *testns.NS) {
	t.Helper()
	if state := snapshot.Heartbeat.Features["flow"]; !strings.HasPrefix(state, event.FeatureOn) {
		t.Logf("no events on this host: flow is %s", state)
		return
	}
	var port uint16
	ns.Do(t, func() error {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer listener.Close()
		dialed, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		port = uint16(dialed.LocalAddr().(*net.TCPAddr).Port)
		return dialed.Close()
	})
	testbin.Eventually(t, patience, func() string {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		for _, e := range c.records {
			if e, is := e.(*event.NetworkConnect); is && e.Netns == ns.Inode && e.SourcePort == port && e.Process.PID == event.Some(uint32(os.Getpid())) {
				return ""
			}
		}
		return fmt.Sprintf("no network_connect from port %d", port)
	})
}

// TestDropsCapabilities: a sensor of root keeps what the table says, in every
// thread, and what begins afterwards is seen as before: a namespace that only a
// mount holds, a process of another user, a connection.
func TestDropsCapabilities(t *testing.T) {
	skipUnlessCapable(t)
	c := startCollector(t)
	p := testbin.Start(t, "netview-sensor", nil, runArguments(t, c, t.TempDir())...)
	snapshot := newest(t, c, func(*event.Snapshot) string { return "" })
	all, _ := rights.Least()
	left := kept(all)
	var mask uint64
	for _, name := range left {
		mask |= 1 << capability(t, name)
	}
	want := dropped(t, mask, left...)
	checkTasks(t, p, want)

	ns := testns.New(t)
	tcp, _, _ := within(t, ns)
	listens(t, c, tcp.Port(), uint32(os.Getpid()))
	pid, port := strangersListener(t)
	listens(t, c, port, pid)

	tells(t, c, snapshot, ns)
	checkTasks(t, p, want)
	p.Stop()
}

// TestKeepsCapabilitiesWhenTold with --no-drop-capabilities.
func TestKeepsCapabilitiesWhenTold(t *testing.T) {
	skipUnlessCapable(t)
	c := startCollector(t)
	p := testbin.Start(t, "netview-sensor", nil, append(runArguments(t, c, t.TempDir()), "--no-drop-capabilities")...)
	newest(t, c, func(*event.Snapshot) string { return "" })
	if own, its := tasks(t, os.Getpid()), tasks(t, p.Command.Process.Pid); !slices.Equal(slices.Collect(maps.Keys(own)), slices.Collect(maps.Keys(its))) {
		t.Errorf("the sensor's threads have %v, those of root %v", its, own)
	}
	p.Stop()
}

// TestLeastCapabilities: a user with no other rights than docs/rights.md asks for
// gets all that root does, and without CAP_SYS_ADMIN what is said there.
func TestLeastCapabilities(t *testing.T) {
	skipUnlessCapable(t)
	ns, _ := testns.NewUnnamed(t) // one that sock_diag has to enter
	dir, file := public(t)
	root := report(t, exec.Command(file))
	pid, port := strangersListener(t)
	all, withoutSysAdmin := rights.Least()
	for name, tt := range map[string]struct{ capabilities, lost []string }{
		"all":                   {all, nil},
		"without CAP_SYS_ADMIN": {withoutSysAdmin, lostWithout("CAP_SYS_ADMIN", root)},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCollector(t)
			spool, err := os.MkdirTemp(dir, "spool")
			if err == nil {
				err = os.Chown(spool, powerless, powerless)
			}
			if err != nil {
				t.Fatal(err)
			}
			p := testbin.StartCommand(t, asPowerless(t, exec.Command(file, runArguments(t, c, spool)...), tt.capabilities))
			snapshot := newest(t, c, func(*event.Snapshot) string { return "" })
			for feature, off := range root.off {
				state := snapshot.Heartbeat.Features[feature]
				if lost := slices.Contains(tt.lost, feature); strings.HasPrefix(state, event.FeatureOff) != (lost || off.Off != "") {
					t.Errorf("the feature %s is %q; of root %+v; it should be lost: %v", feature, state, off, lost)
				}
			}
			if state := snapshot.Heartbeat.Features["spool"]; state != event.FeatureOn {
				t.Errorf("the spool is %s", state)
			}
			listens(t, c, port, pid)
			tells(t, c, snapshot, ns)
			checkTasks(t, p, dropped(t, bounding(t), kept(tt.capabilities)...))
			if warned := strings.Contains(p.Said(), "for want of capabilities"); warned != (len(tt.lost) > 0) {
				t.Errorf("it warns of features that are lost: %v, want %v", warned, len(tt.lost) > 0)
			}
			p.Stop()
		})
	}
}

// reported is what `netview-sensor check` says.
type reported struct {
	Report
	off map[string]Feature
}

// report runs the sensor's command `check`.
func report(t *testing.T, command *exec.Cmd) reported {
	t.Helper()
	r, err := tryReport(command)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryReport(command *exec.Cmd) (r reported, err error) {
	command.Args = append(command.Args, "check", "--format", "json", "--sensor-id", "rights")
	said, err := command.Output()
	if err == nil {
		err = json.Unmarshal(said, &r.Report)
	}
	r.off = map[string]Feature{}
	for _, f := range r.Features {
		r.off[f.Name] = f
	}
	return r, err
}

// lostWithout are the features that the lack of a capability costs a user who is
// not root, on a host that gives these to root.
func lostWithout(name string, root reported) (lost []string) {
	fexit := slices.ContainsFunc(root.Features, func(f Feature) bool { return f.Off == "" && strings.HasPrefix(f.Hook, "fexit/") })
	for _, r := range rights.Table() {
		if r.Name != name {
			continue
		}
		for _, feature := range r.Features {
			// They need it for the tracepoints alone, which fexit can stand in for.
			forTracepoints := (feature == "accept" || feature == "connect") && r.Instead == ""
			spared := forTracepoints && (fexit || name == "CAP_SYS_ADMIN" && hostHas(unix.TRACEFS_MAGIC, "/sys/kernel/tracing")) ||
				feature == "connection_id" && r.Instead == "" && !strings.HasPrefix(root.off[feature].Hook, "cgroup/") ||
				(feature == "dns" || feature == "connection_id") && name == "CAP_SYS_ADMIN" && hostHas(unix.CGROUP2_SUPER_MAGIC, "/sys/fs/cgroup", "/sys/fs/cgroup/unified")
			// Links of several uprobes do without it.
			spared = spared || feature == "dns_lookup" && r.Instead == "" && strings.HasPrefix(root.off[feature].Hook, "uprobe.multi/")
			if root.off[feature].Off == "" && !spared {
				lost = append(lost, feature)
			}
		}
	}
	return lost
}

// hostHas reports whether a file system is mounted at one of some places.
func hostHas(magic int64, places ...string) bool {
	return slices.ContainsFunc(places, func(place string) bool {
		var kind unix.Statfs_t
		return unix.Statfs(place, &kind) == nil && kind.Type == magic
	})
}

// TestEachCapability: without one of them exactly the features are off that the
// table says, and their remedies name it, and no other remedy any.
func TestEachCapability(t *testing.T) {
	skipUnlessCapable(t)
	testns.NewUnnamed(t) // one that sock_diag has to enter
	_, file := public(t)
	root := report(t, exec.Command(file))
	all, withoutSysAdmin := rights.Least()
	for _, r := range rights.Table() {
		if len(r.Features) == 0 {
			continue
		}
		set := slices.Concat(all, without(withoutSysAdmin, all...))
		if r.Instead != "" || r.Name == "CAP_NET_ADMIN" {
			set = withoutSysAdmin // it would hide that the other is missing
		}
		t.Run(r.Name, func(t *testing.T) {
			with := report(t, asPowerless(t, exec.Command(file), set))
			lacks := report(t, asPowerless(t, exec.Command(file), without(set, r.Name)))
			var lost []string
			for _, f := range lacks.Features {
				before := with.off[f.Name]
				if f.Off != "" && before.Off == "" {
					lost = append(lost, f.Name)
				}
				if named := strings.Contains(f.Remedy, r.Name); named != (f.Off != "" && before.Off == "") && before.Off == "" {
					t.Errorf("%s: off %q, remedy %q", f.Name, f.Off, f.Remedy)
				}
				if before.Off != "" && root.off[f.Name].Off != "" && strings.Contains(before.Remedy, "CAP_") {
					t.Errorf("%s: no capability helps root, but the remedy is %q", f.Name, before.Remedy)
				}
			}
			want := without(lostWithout(r.Name, root), off(with)...)
			slices.Sort(lost)
			slices.Sort(want)
			if !slices.Equal(lost, want) {
				t.Errorf("it costs %v, want %v", lost, want)
			}
			if i := slices.IndexFunc(lacks.Losses, func(l Loss) bool { return l.Cause == process.CauseDenied }); slices.Contains(lost, rights.OtherProcesses) && (i < 0 || !strings.Contains(lacks.Losses[i].Remedy, r.Name)) {
				t.Errorf("no process is counted as closed to it for want of %s: %+v", r.Name, lacks.Losses)
			}
			for _, right := range lacks.Rights {
				if held := slices.Contains(set, right.Name) && right.Name != r.Name; right.Held != held {
					t.Errorf("%s is held: %v", right.Name, right.Held)
				}
			}
		})
	}
}

// off are the features that a report says to be off.
func off(r reported) (names []string) {
	for _, f := range r.Features {
		if f.Off != "" {
			names = append(names, f.Name)
		}
	}
	return names
}

// TestTracefsOfTheHost: where it is mounted no CAP_SYS_ADMIN is needed for the
// tracepoints.
func TestTracefsOfTheHost(t *testing.T) {
	skipUnlessCapable(t)
	_, file := public(t)
	root := report(t, exec.Command(file))
	_, withoutSysAdmin := rights.Least()
	command := asPowerless(t, exec.Command(file), withoutSysAdmin)
	var r reported
	var reason error
	testns.New(t).Do(t, func() (err error) {
		// The thread, with its mounts, is thrown away afterwards.
		reason = errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, ""))
		if reason == nil {
			r, err = tryReport(command)
		}
		return err
	})
	if reason != nil {
		t.Skipf("tracefs cannot be mounted in a mount namespace of the test: %v", reason)
	}
	for _, name := range []string{"accept", "connect"} {
		if f := r.off[name]; f.Off != "" && root.off[name].Off == "" {
			t.Errorf("%s is off: %s", name, f.Off)
		}
	}
}

// TestSpoolOfAnotherUser is closed to a sensor of root too, which says so at once.
func TestSpoolOfAnotherUser(t *testing.T) {
	skipUnlessCapable(t)
	spool := t.TempDir()
	if err := errors.Join(os.Chown(spool, powerless, powerless), os.Chmod(spool, 0o700)); err != nil {
		t.Fatal(err)
	}
	c := startCollector(t)
	p := testbin.Start(t, "netview-sensor", nil, append(runArguments(t, c, spool), "--no-ebpf")...)
	snapshot := newest(t, c, func(*event.Snapshot) string { return "" })
	if state := snapshot.Heartbeat.Features["spool"]; !strings.Contains(state, "belongs to the sensor's user") {
		t.Errorf("the spool is %s", state)
	}
	p.Stop()
}

// TestPortBelow1024 is open to a sensor with the right to it, which it then drops.
func TestPortBelow1024(t *testing.T) {
	skipUnlessCapable(t)
	_, file := public(t)
	ns := testns.New(t)
	start := func(capabilities ...string) (p *testbin.Program) {
		ns.Do(t, func() error {
			p = testbin.StartCommand(t, asPowerless(t, exec.Command(file, "--no-ebpf", "--sensor-id", "rights", "--web.listen-address", "127.0.0.1:80"), capabilities))
			return nil
		})
		return p
	}
	p := start()
	if code := p.Wait(); code != 1 || !strings.Contains(p.Said(), "CAP_NET_BIND_SERVICE") {
		t.Errorf("without the right it exits %d and says\n%s", code, p.Said())
	}
	p = start("CAP_NET_BIND_SERVICE")
	testbin.Eventually(t, patience, func() (missing string) {
		ns.Do(t, func() error {
			connection, err := net.Dial("tcp", "127.0.0.1:80")
			if err != nil {
				missing = err.Error()
				return nil
			}
			defer connection.Close()
			if _, err := io.WriteString(connection, "GET /-/ready HTTP/1.0\r\n\r\n"); err != nil {
				return err
			}
			answer, err := io.ReadAll(connection)
			if missing = string(answer); err == nil && strings.Contains(missing, "200 OK") {
				missing = ""
			}
			return err
		})
		return missing
	})
	checkTasks(t, p, dropped(t, bounding(t)))
	p.Stop()
}

// TestTableNamesFeatures that the sensor has, and all that come from the kernel.
func TestTableNamesFeatures(t *testing.T) {
	var names []string
	for _, f := range probeFeatures(nil) {
		if !slices.ContainsFunc(rights.Table(), func(r rights.Right) bool { return slices.Contains(r.Features, f.Name) }) {
			t.Errorf("%s needs no capability", f.Name)
		}
	}
	for _, f := range append(features(nil, nil), probeFeatures(nil)...) {
		names = append(names, f.Name)
	}
	for _, r := range rights.Table() {
		for _, feature := range r.Features {
			if !slices.Contains(names, feature) {
				t.Errorf("%s is for %s, and there are %v", r.Name, feature, names)
			}
		}
	}
}
