package libc

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/sensor/probe"
)

// patience bounds every wait: emulated machines are slow.
const patience = 60 * time.Second

// interval between two looks at all processes; never is one for tests of what is found
// without.
const (
	interval = time.Second
	never    = time.Hour
)

// watcher keeps the lookups of the host.
type watcher struct {
	t      *testing.T
	probe  *probe.Probe
	finder *Finder
	mutex  sync.Mutex
	seen   []seen
}

type seen struct {
	netns         uint32
	line, library string
}

// others are features that tell nothing of lookups: emulated machines take long to
// load them.
var others = []string{probe.FeatureListen, probe.FeatureAccept, probe.FeatureUring, probe.FeatureConnect, probe.FeatureUDPConnect, probe.FeatureLSM, probe.FeatureDNS, probe.FeatureSeed}

// watch the host's lookups with the real programs, until the test ends.
func watch(t *testing.T, interval time.Duration) *watcher {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("eBPF needs root (CAP_BPF and CAP_PERFMON)")
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	p := probe.Open(log, others...)
	for _, f := range p.Features() {
		if (f.Name == probe.FeatureLookup || f.Name == probe.FeatureExec) && f.Err != nil {
			p.Close()
			t.Skipf("not on this kernel: %v (%s)", f.Err, f.Remedy)
		}
	}
	w := &watcher{t: t, probe: p, finder: New("/proc", p, log)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.finder.Run(ctx, interval) })
	running.Go(func() {
		if err := p.Run(ctx, probe.Handler{Lookup: w.take, Exec: w.finder.Exec}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		for cause, n := range p.Lost() {
			if n > 0 {
				t.Errorf("%d are lost: %s", n, cause)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *watcher) take(l *probe.Lookup) {
	if l.Twin != 0 {
		w.finder.Twins(l.Library, l.Twin)
	}
	optional := func(text []byte, known bool) string {
		if !known {
			return "-"
		}
		return string(text)
	}
	more := ""
	if l.More != 0 {
		more = " and more"
	}
	s := seen{netns: l.Netns, library: w.finder.Path(l.Library),
		line: fmt.Sprintf("%s %s %s %v%s by %s", optional(l.Name()), optional(l.ServiceName()), l.Outcome(), l.AppendAddresses(nil), more, l.Process())}
	if l.Latency() <= 0 || l.Latency() > patience || l.Uid != 0 {
		s.line += fmt.Sprintf(" after %v, uid %d", l.Latency(), l.Uid)
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.seen = append(w.seen, s)
}

// in is a stage, of which nothing has been seen yet: the number of a namespace is used
// again.
func (w *watcher) in(t *testing.T) *stage {
	w.t = t
	s := newStage(t)
	w.probe.Sync(t.Context())
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.seen = nil
	return s
}

// said are the lookups of a namespace, each with how often it was seen, in words.
func (w *watcher) said(ns *testns.NS) (lines []string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	counts := map[string]int{}
	for _, s := range w.seen {
		if uint64(s.netns) == ns.Inode {
			counts[s.line]++
		}
	}
	for line, n := range counts {
		if n > 1 {
			line = fmt.Sprintf("%d × %s", n, line)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// expect exactly these lookups in a namespace, of programs that have ended.
func (w *watcher) expect(ns *testns.NS, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	w.probe.Sync(w.t.Context())
	if said := w.said(ns); !slices.Equal(said, want) {
		w.t.Errorf("there are the lookups\n\t%s\nwant\n\t%s", strings.Join(said, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// attached waits for a libc that f tells from others.
func (w *watcher) attached(f func(*Library) bool) (found Library) {
	w.t.Helper()
	testbin.Eventually(w.t, patience, func() string {
		for _, l := range w.finder.State().Libraries {
			if l.Err == nil && f(&l) {
				found = l
				return ""
			}
		}
		return fmt.Sprintf("a libc that is attached, among %v", w.finder.State().Libraries)
	})
	return found
}

// named is for [watcher.attached].
func named(path string) func(*Library) bool { return func(l *Library) bool { return l.Path == path } }

// stage is a network namespace in which a DNS server answers.
type stage struct {
	*testns.NS
	t   *testing.T
	dir string // of the files in etc
}

// etc are the files that a program on a stage finds in /etc.
var etc = map[string]string{
	"resolv.conf":   "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
	"hosts":         "127.0.0.1 localhost\n::1 localhost\n",
	"nsswitch.conf": "hosts: files dns\nservices: files\n",
	"services":      "http 80/tcp\n",
	"host.conf":     "multi on\n",
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{testns.New(t), t, t.TempDir()}
	for name, text := range etc {
		file := filepath.Join(s.dir, name)
		if os.Getenv("NETVIEW_ALONE") != "" { // a machine of the test's own, which has no such files
			file = "/etc/" + name
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.Do(t, func() error {
		packets, err := net.ListenPacket("udp4", "127.0.0.1:53")
		if err != nil {
			return err
		}
		// One that has not started yet cannot be stopped.
		started, served := make(chan struct{}), make(chan error, 1)
		server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(answer), NotifyStartedFunc: func() { close(started) }}
		go func() { served <- server.ActivateAndServe() }()
		select {
		case <-started:
		case err := <-served:
			return err
		}
		t.Cleanup(func() {
			if err := server.Shutdown(); err != nil {
				t.Error(err)
			}
			<-served
		})
		return nil
	})
	return s
}

// zone is what the server knows.
var zone = map[string][]string{
	"one.test.": {"192.0.2.1"},
	"two.test.": {"192.0.2.2", "192.0.2.3"},
	"six.test.": {"2001:db8::6"},
}

// answer a question: none at all for mute.test.
func answer(w dns.ResponseWriter, question *dns.Msg) {
	name := strings.ToLower(question.Question[0].Name)
	reply := new(dns.Msg).SetReply(question)
	reply.RecursionAvailable = true // without it glibc takes an answer without data for a referral
	addresses := zone[name]
	if name == "many.test." {
		for i := range 20 {
			addresses = append(addresses, fmt.Sprintf("192.0.2.%d", 100+i))
		}
	}
	for _, text := range addresses {
		address := netip.MustParseAddr(text)
		header := dns.RR_Header{Name: question.Question[0].Name, Class: dns.ClassINET, Ttl: 60}
		switch {
		case address.Is4() && question.Question[0].Qtype == dns.TypeA:
			header.Rrtype = dns.TypeA
			reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: address.AsSlice()})
		case address.Is6() && question.Question[0].Qtype == dns.TypeAAAA:
			header.Rrtype = dns.TypeAAAA
			reply.Answer = append(reply.Answer, &dns.AAAA{Hdr: header, AAAA: address.AsSlice()})
		}
	}
	switch {
	case name == "mute.test.":
		return
	case name == "broken.test.":
		reply.Rcode = dns.RcodeServerFailure
	case len(addresses) == 0: // otherwise there is a name, if not of this family
		reply.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(reply) // a client that has gone does not matter
}

// command that runs on the stage, with its files in /etc.
func (s *stage) command(arguments ...string) *exec.Cmd {
	script := `exec "$@"`
	if os.Getenv("NETVIEW_ALONE") == "" {
		for name := range etc {
			if _, err := os.Stat("/etc/" + name); err != nil {
				continue // nothing can be mounted on it
			}
			script = fmt.Sprintf("mount --bind %s/%s /etc/%s && %s", s.dir, name, name, script)
		}
	}
	command := exec.Command("sh", append([]string{"-c", script, "sh"}, arguments...)...)
	command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	return command
}

// run a program on the stage to its end, which must be a good one.
func (s *stage) run(arguments ...string) (output string) {
	s.t.Helper()
	s.Do(s.t, func() error {
		out, err := s.command(arguments...).CombinedOutput()
		output = string(out)
		if err != nil {
			s.t.Errorf("%q: %v: %s", arguments, err, out)
		}
		return nil
	})
	return output
}

// hold a libc in memory by a program, until the test ends.
func (s *stage) hold(command *exec.Cmd) (release func()) {
	s.t.Helper()
	input, err := command.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.Do(s.t, command.Start)
	release = sync.OnceFunc(func() {
		input.Close()
		if err := command.Wait(); err != nil {
			s.t.Errorf("%v: %v", command, err)
		}
	})
	s.t.Cleanup(release)
	return release
}

// compiled is one of testdata, which is compiled now, or has been elsewhere.
func compiled(t testing.TB, compiler, source string, flags ...string) string {
	t.Helper()
	name := compiler + "-" + strings.TrimSuffix(source, ".c")
	if dir := os.Getenv("NETVIEW_PROGRAMS"); dir != "" {
		return filepath.Join(dir, name)
	}
	if _, err := exec.LookPath(compiler); err != nil {
		t.Skipf("%v: nothing can be compiled for it", err)
	}
	file := filepath.Join(t.TempDir(), name)
	// With exceptions, as C++ has them: a thread that is cancelled then finds what it has
	// to clean by walking its stack.
	build := exec.Command(compiler, append([]string{"-O2", "-Wall", "-Werror", "-fexceptions", "-pthread", "-o", file, filepath.Join("testdata", source)}, flags...)...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", build, err, out)
	}
	return file
}

// copied copies a file with its mode.
func copied(t testing.TB, from, to string) {
	t.Helper()
	source, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(file, source); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// mapped is the path of the libc that a process has in memory, once it has one.
func mapped(t *testing.T, pid int) (path string) {
	t.Helper()
	testbin.Eventually(t, patience, func() string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		if err != nil {
			t.Fatal(err)
		}
		for m := range libcs(text) {
			path = m.path
			return ""
		}
		return "a libc in its memory"
	})
	return path
}
