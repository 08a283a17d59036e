package sensor

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testns"
)

// theatre is what the rows of [TestNaming] play in.
type theatre struct {
	t     *testing.T
	watch *watcher
	// Resolvers are here, and not there.
	here, there *stage
	clients     map[string]string // files, by name
	// from is the first event of a row, rows what its snapshots have shown.
	from int
	rows []string
	// Of all rows: connections and flows that should have a name, those that had it, and
	// names that should not have been there.
	should, got, wrong int
}

// newTheatre with resolvers, and programs that are built now.
func newTheatre(t *testing.T) *theatre {
	t.Helper()
	testns.SkipUnlessRoot(t)
	for _, name := range []string{"unbound", "dnsmasq", "dig", "nft", "gcc", "python3"} {
		tool(t, name)
	}
	th := &theatre{t: t, here: newStage(t), there: newStage(t)}
	th.here.startUnbound()
	th.here.startDnsmasq()
	th.here.translate()
	th.build()
	th.watch = watchNamespace(t, th.here.NS)
	libcs := 0
	for _, name := range []string{"c", "musl"} { // which have their libc in memory until the end
		if th.clients[name] != "" {
			th.here.start(th.clients[name]).done()
			libcs++
		}
	}
	var running sync.WaitGroup
	running.Go(func() { th.watch.libcs.Run(t.Context(), time.Second) })
	t.Cleanup(running.Wait)
	testbin.Eventually(t, time.Minute, func() string {
		if n := th.watch.libcs.State().Counts()[event.LibraryAttached]; n < libcs {
			return fmt.Sprintf("%d libcs, not %d", libcs, n)
		}
		return ""
	})
	return th
}

// build the clients.
func (th *theatre) build() {
	th.t.Helper()
	dir := th.t.TempDir()
	th.clients = map[string]string{}
	for name, command := range map[string][]string{
		"c":    {"gcc", "-O2", "-Wall", "-Werror", "testdata/client.c"},
		"musl": {"musl-gcc", "-O2", "-Wall", "-Werror", "testdata/client.c"},
		"go":   {"go", "build", "./testdata/client"},
		"cgo":  {"go", "build", "-tags", "netcgo", "./testdata/client"},
	} {
		if _, err := exec.LookPath(command[0]); err != nil {
			th.t.Logf("%v: there is no client of %s", err, name)
			continue
		}
		file := filepath.Join(dir, name)
		last := len(command) - 1
		build := exec.Command(command[0], append(slices.Clone(command[1:last]), "-o", file, command[last])...)
		build.Env = append(os.Environ(), "CGO_ENABLED="+map[bool]string{true: "1", false: "0"}[name == "cgo"])
		if out, err := build.CombinedOutput(); err != nil {
			th.t.Fatalf("%v: %v: %s", build, err, out)
		}
		th.clients[name] = file
	}
}

// client connects to a name, is shown in a snapshot, and ends.
func (th *theatre) client(name string, arguments ...string) {
	th.t.Helper()
	if th.clients[name] == "" {
		th.t.Skip("it could not be built")
	}
	a := th.here.start(append([]string{th.clients[name]}, arguments...)...)
	a.done()
	th.look()
	a.end()
}

// python is a client that does these, is shown in a snapshot, and ends.
func (th *theatre) python(on *stage, lines ...string) {
	th.t.Helper()
	a := on.start("python3", "-u", "testdata/client.py")
	for _, line := range lines {
		a.do(line)
	}
	th.look()
	a.end()
}

func (th *theatre) dig(arguments ...string) {
	th.t.Helper()
	th.here.run(append([]string{"dig"}, arguments...)...)
}

// look at what a snapshot shows of connections to the service.
func (th *theatre) look() {
	th.t.Helper()
	s := th.watch.take(0)
	show := func(what string, netns uint64, destination netip.Addr, port uint16, name string) {
		if netns == th.here.Inode || netns == th.there.Inode {
			th.rows = append(th.rows, short.Replace(fmt.Sprintf("%s %s %s", what, place(destination, port), or(name))))
		}
	}
	for _, c := range s.Connections {
		if c.Direction == event.DirectionOutbound {
			show("connection", c.Netns, c.RemoteAddress, c.RemotePort, c.RemoteName)
		} else if c.RemoteName != "" {
			show("inbound connection", c.Netns, c.LocalAddress, c.LocalPort, c.RemoteName)
		}
	}
	for _, f := range s.Flows {
		if f.Direction == event.DirectionOutbound {
			show("live flow", f.Netns, f.DestinationAddress, f.DestinationPort, f.RemoteName)
		} else if f.RemoteName != "" {
			show("inbound live flow", f.Netns, f.DestinationAddress, f.DestinationPort, f.RemoteName)
		}
	}
}

// short words for names that are not.
var short = strings.NewReplacer(longName, "LONG", longLabel, "l")

// place without the service's port.
func place(a netip.Addr, port uint16) string {
	if port == servicePort {
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}

// or is a name, or a word for none.
func or(name string) string {
	if name == "" {
		return "-"
	}
	return name
}

// said are the events of the row on both stages, in words, with what its snapshots
// have shown. Of a connection's two ends it is the one that connected.
func (th *theatre) said() []string {
	th.watch.mutex.Lock()
	defer th.watch.mutex.Unlock()
	lines := slices.Clone(th.rows)
	for _, e := range th.watch.events[th.from:] {
		netns, line := words(e)
		if line != "" && (netns == th.here.Inode || netns == th.there.Inode) {
			lines = append(lines, short.Replace(line))
		}
	}
	slices.Sort(lines)
	return lines
}

// words of an event.
func words(e event.Event) (netns uint64, line string) {
	switch e := e.(type) {
	case *event.DNSQuery:
		line = fmt.Sprintf("query %s %s %s @%s", e.Transport, or(e.Name), or(e.Type), strings.Join(e.Servers, ","))
		if e.Protocol != event.ProtocolDNS {
			line = e.Protocol + " " + line
		}
		if e.Attempts.Known && e.Attempts.Value != 1 {
			line += fmt.Sprintf(" %dx", e.Attempts.Value)
		}
		if line += " " + or(e.RCode); e.RCode == "" {
			line = strings.TrimSuffix(line, "-") + e.Result
		}
		if e.Truncated.Value {
			line += " truncated"
		}
		if len(e.Answers) > 4 {
			line += fmt.Sprintf(" %d answers", len(e.Answers))
		} else {
			for i, answer := range e.Answers {
				line += fmt.Sprintf(" %s %s %d", e.AnswerTypes[i], answer, e.AnswerTTLs[i])
			}
		}
		return e.Netns, line + " by " + e.Process.Name
	case *event.DNSLookup:
		list := strings.Join(e.Addresses, " ")
		if len(e.Addresses) > 4 {
			list = fmt.Sprintf("%d addresses", len(e.Addresses))
		}
		return e.Netns, strings.TrimSpace(fmt.Sprintf("lookup %s %s %s", or(e.Name), e.Result, list)) + " by " + e.Process.Name
	case *event.NetworkConnect:
		line = fmt.Sprintf("connect %s %s %s", e.Transport, place(e.DestinationAddress, e.DestinationPort), or(e.RemoteName))
		if e.Result != event.ResultOK {
			line += " " + e.Result
		}
		return e.Netns, line + " by " + e.Process.Name
	case *event.DNSResolution:
		whose := "other"
		if e.SameProcess {
			whose = "own"
		}
		ttl := ""
		if e.TTL.Known {
			ttl = fmt.Sprintf(" %.0f", e.TTL.Value.Seconds())
		}
		line = fmt.Sprintf("resolution %s %s %s %s%s", place(e.DestinationAddress, e.DestinationPort), e.Name, whose, e.Source, ttl)
		if len(e.Others) > 0 {
			line += fmt.Sprint(" also ", e.Others)
		}
		return e.Netns, line + " by " + e.Process.Name
	case *event.NetworkFlow:
		if e.Direction == event.DirectionOutbound {
			return e.Netns, fmt.Sprintf("flow %s %s by %s", place(e.DestinationAddress, e.DestinationPort), or(e.RemoteName), e.Process.Name)
		} else if e.RemoteName != "" {
			return e.Netns, fmt.Sprintf("inbound flow %s %s", place(e.DestinationAddress, e.DestinationPort), e.RemoteName)
		}
	}
	return 0, ""
}

// expect exactly these lines of a row.
func (th *theatre) expect(patience time.Duration, want []string) {
	th.t.Helper()
	var have []string
	want = slices.Sorted(slices.Values(want))
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		th.watch.probe.Sync(th.t.Context())
		if have = th.said(); len(have) >= len(want) {
			break
		}
	}
	time.Sleep(150 * time.Millisecond) // for one that should not come
	if have = th.said(); !slices.Equal(have, want) {
		th.t.Errorf("told:\n\t%s\nwant:\n\t%s", strings.Join(have, "\n\t"), strings.Join(want, "\n\t"))
	}
	th.count(have, want)
}

// count the names of connections and flows.
func (th *theatre) count(have, want []string) {
	missing := map[string]int{}
	for _, line := range want {
		if named(line) {
			th.should++
			missing[line]++
		}
	}
	for _, line := range have {
		switch {
		case !named(line):
		case missing[line] > 0:
			missing[line]--
			th.got++
		default:
			th.wrong++
		}
	}
}

// counted says how many names there were, and holds them against what should be.
func (th *theatre) counted() {
	th.t.Helper()
	th.t.Logf("of %d connections and flows that should have a name %d have it (%.1f %%); %d names are wrong", th.should, th.got, 100*float64(th.got)/float64(th.should), th.wrong)
	if th.got != th.should || th.wrong > 0 {
		th.t.Error("names are missing or wrong")
	}
	for cause, n := range th.watch.happenings.lost() {
		if n > 0 {
			th.t.Errorf("%d are lost: %s", n, cause)
		}
	}
}

// named reports whether a line is of a connection or flow with a name.
func named(line string) bool {
	for _, what := range []string{"connect tcp", "connect udp", "connection", "flow", "live flow", "inbound"} {
		if rest, is := strings.CutPrefix(line, what+" "); is {
			return strings.Fields(rest)[1] != "-"
		}
	}
	return false
}

// row forgets what was before it.
func (th *theatre) row(t *testing.T) {
	th.t, th.watch.t, th.here.t, th.there.t = t, t, t, t
	th.watch.probe.Sync(t.Context())
	th.watch.mutex.Lock()
	defer th.watch.mutex.Unlock()
	th.from, th.rows = len(th.watch.events), nil
}
