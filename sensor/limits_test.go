package sensor

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/socket"
)

// TestAcceptsOnlyGrow: namespaces come, go and cannot be read; the sum of what they
// lost while they were watched stays.
func TestAcceptsOnlyGrow(t *testing.T) {
	ns := func(inode, overflows, drops uint64) socket.Namespace {
		return socket.Namespace{Inode: inode, Accepts: socket.Accepts{Overflows: overflows, Drops: drops, Known: true}}
	}
	var l limits
	for _, step := range []struct {
		what             string
		namespaces       []socket.Namespace
		overflows, drops uint64
	}{
		{"older than the sensor", []socket.Namespace{ns(1, 100, 200)}, 0, 0},
		{"more", []socket.Namespace{ns(1, 103, 204)}, 3, 4},
		{"another", []socket.Namespace{ns(1, 103, 204), ns(2, 5, 5)}, 3, 4},
		{"unreadable", []socket.Namespace{ns(1, 104, 205), {Inode: 2}}, 4, 5},
		{"readable again", []socket.Namespace{ns(1, 104, 205), ns(2, 7, 7)}, 6, 7},
		{"gone", []socket.Namespace{ns(1, 104, 205)}, 6, 7},
		{"its inode again", []socket.Namespace{ns(1, 104, 205), ns(2, 1, 1)}, 6, 7},
		{"began anew", []socket.Namespace{ns(1, 3, 3), ns(2, 2, 2)}, 7, 8},
	} {
		got := l.update(t.TempDir(), &socket.Table{Seen: step.namespaces})
		if got.ListenOverflows != step.overflows || got.ListenDrops != step.drops {
			t.Errorf("%s: %d overflows and %d drops, want %d and %d", step.what, got.ListenOverflows, got.ListenDrops, step.overflows, step.drops)
		}
	}
}

// TestEphemeralPorts: what counts is the destination that most sockets of one
// address of one namespace go to, beside the range of that namespace.
func TestEphemeralPorts(t *testing.T) {
	table := &socket.Table{Seen: []socket.Namespace{{Inode: 1, Ephemeral: socket.PortRange{First: 40000, Last: 40009}}, {Inode: 2, Ephemeral: socket.PortRange{First: 50000, Last: 50099}}}}
	add := func(netns uint64, local, remote string, state socket.State) {
		table.Rows = append(table.Rows, socket.Row{Netns: netns, State: state, Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)})
	}
	for port := range 4 {
		add(1, fmt.Sprint("192.0.2.1:", 40000+port), "192.0.2.9:443", socket.Established)
		add(1, fmt.Sprint("192.0.2.1:", 40000+port), "192.0.2.9:80", socket.Established)
		add(1, fmt.Sprint("192.0.2.2:", 40000+port), "192.0.2.9:443", socket.Established)
		add(1, fmt.Sprint("192.0.2.1:", 30000+port), "192.0.2.9:443", socket.Established) // not of the range
	}
	add(1, "192.0.2.1:40008", "192.0.2.9:443", socket.TimeWait)
	add(1, "192.0.2.1:40009", "0.0.0.0:0", socket.Listen)
	for port := range 10 {
		add(2, fmt.Sprint("192.0.2.1:", 50000+port), "192.0.2.9:443", socket.Established)
	}
	var l limits
	if got := l.update(t.TempDir(), table).EphemeralPorts; got != .5 {
		t.Errorf("%v of the ephemeral ports, want 0.5", got)
	}
	if got := l.update(t.TempDir(), &socket.Table{}).EphemeralPorts; got != 0 {
		t.Errorf("%v of the ephemeral ports of no sockets", got)
	}
}

func TestConntrack(t *testing.T) {
	proc := t.TempDir()
	dir := filepath.Join(proc, "sys/net/netfilter")
	var l limits
	look := func(what string, want event.Limits) {
		t.Helper()
		if got := l.update(proc, &socket.Table{}); got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	look("without it", event.Limits{})
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write("nf_conntrack_count", "123\n")
	look("without a limit", event.Limits{})
	write("nf_conntrack_max", "262144\n")
	look("with both", event.Limits{Conntrack: 123, ConntrackLimit: 262144})
	write("nf_conntrack_count", "many\n")
	look("no number", event.Limits{})
}
