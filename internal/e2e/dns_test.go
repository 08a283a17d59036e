package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/internal/testns"
)

// TestDNS: a question of dig, and a connection of Python by a name that dnsmasq knows,
// come to ClickHouse as queries, a lookup and a resolution, and the name with the
// connection and its flow.
func TestDNS(t *testing.T) {
	testns.SkipUnlessRoot(t)
	for _, name := range []string{"dnsmasq", "dig", "python3"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%v: internal/testkernel/fetch.sh brings it", err)
		}
	}
	ns := testns.New(t)
	files := t.TempDir()
	for name, text := range map[string]string{"resolv.conf": "nameserver 127.0.0.1\n", "nsswitch.conf": "hosts: dns\n"} {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ns.Do(t, func() error {
		testbin.StartFile(t, "dnsmasq", nil, "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file", "--no-resolv", "--no-hosts",
			"--bind-interfaces", "--listen-address=127.0.0.1", "--address=/one.test/127.7.0.1")
		listener, err := net.Listen("tcp", "127.7.0.1:9000")
		if err == nil {
			t.Cleanup(func() { listener.Close() })
		}
		return err
	})
	r := startRoad(t, testch.Start(t))
	eventually(t, func() string {
		var queries, lookups string
		if err := r.row("SELECT features['dns'], features['dns_lookup'] FROM netview.heartbeats ORDER BY timestamp DESC LIMIT 1", &queries, &lookups); err != nil {
			return err.Error()
		}
		if !strings.HasPrefix(queries, event.FeatureOn) || !strings.HasPrefix(lookups, event.FeatureOn) {
			return fmt.Sprintf("queries are %s, lookups %s", queries, lookups)
		}
		return ""
	})
	client := exec.Command("sh", "-c", `mount --bind "$0/resolv.conf" /etc/resolv.conf && mount --bind "$0/nsswitch.conf" /etc/nsswitch.conf &&
		dig one.test TXT && exec python3 -c "import socket, sys; s = socket.create_connection(('one.test', 9000)); sys.stdin.read()"`, files)
	client.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	client.Stderr = t.Output()
	input, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	ns.Do(t, client.Start)
	t.Cleanup(func() {
		input.Close()
		_ = client.Wait() // unless it has been waited for
	})
	here := fmt.Sprintf("netns = %d", ns.Inode)
	eventually(t, func() string {
		var rows uint64
		if err := r.row("SELECT uniqExact(connection_id) FROM netview.snapshot_connections WHERE remote_name = 'one.test' AND remote_port = 9000 AND "+here, &rows); err != nil || rows != 1 {
			return fmt.Sprintf("%d connections in snapshots have the name (%v), want 1", rows, err)
		}
		return ""
	})
	input.Close()
	if err := client.Wait(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		var digs, addresses, none, lookups, resolutions, connects, flows uint64
		if err := r.row(`SELECT countIf(kind = 'dns_query' AND name = 'one.test' AND query_type = 'TXT' AND result = 'answered' AND process_name = 'dig'),
				countIf(kind = 'dns_query' AND query_type = 'A' AND rcode = 'NOERROR' AND answers = ['127.7.0.1'] AND servers = ['127.0.0.1'] AND latency_secs > 0),
				countIf(kind = 'dns_query' AND query_type = 'AAAA' AND result = 'answered' AND answers = []),
				countIf(kind = 'dns_lookup' AND name = 'one.test' AND result = 'ok' AND answers = ['127.7.0.1']),
				countIf(kind = 'dns_resolution' AND name = 'one.test' AND name_source = 'getaddrinfo' AND same_process),
				countIf(kind = 'network_connect' AND remote_name = 'one.test'), countIf(kind = 'network_flow' AND remote_name = 'one.test')
			FROM netview.events WHERE `+here, &digs, &addresses, &none, &lookups, &resolutions, &connects, &flows); err != nil {
			return err.Error()
		}
		if got := []uint64{digs, addresses, none, lookups, resolutions, connects, flows}; fmt.Sprint(got) != "[1 1 1 1 1 1 1]" {
			return fmt.Sprintf("stored are %d of each: a query of dig, those for A and for AAAA, a lookup, a resolution, a connect and a flow; want 1", got)
		}
		return ""
	})
	r.explained()
}
