package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/internal/testns"
)

// TestEvents: what happens on the host between two heartbeats comes to ClickHouse
// by eBPF, and flows while they live; what the sensor does to test itself does not.
func TestEvents(t *testing.T) {
	testns.SkipUnlessRoot(t)
	ns := testns.New(t)
	r := startRoad(t, testch.Start(t))
	eventually(t, func() string {
		var mode, flow string
		if err := r.row("SELECT mode, features['flow'] FROM netview.heartbeats ORDER BY timestamp DESC LIMIT 1", &mode, &flow); err != nil {
			return err.Error()
		}
		if mode != "ebpf" {
			return fmt.Sprintf("the mode is %s; flow: %s", mode, flow)
		}
		return ""
	})
	var listener, client, server = (net.Listener)(nil), (net.Conn)(nil), (net.Conn)(nil)
	ns.Do(t, func() (err error) {
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		if client, err = net.Dial("tcp", listener.Addr().String()); err != nil {
			return err
		}
		server, err = listener.Accept()
		return err
	})
	for _, c := range []io.Closer{listener, client, server} {
		defer c.Close()
	}
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	here := fmt.Sprintf("netns = %d AND pid = %d AND timestamp > now() - INTERVAL 1 MINUTE", ns.Inode, os.Getpid())
	// While it lives: its two ends, in one heartbeat, with their bytes so far, and
	// beside them the connections, tied by connection_id.
	eventually(t, func() string {
		live := r.number("SELECT max(n) FROM (SELECT count() AS n FROM netview.snapshot_flows AS f INNER JOIN netview.snapshot_connections AS c USING (session, heartbeat, connection_id) WHERE f.bytes_sent + f.bytes_received = 5 AND f.state = 'established' AND f.duration_secs >= 0 AND f.rtt_secs > 0 AND " + strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(here, "netns", "f.netns"), "pid", "f.pid"), "timestamp", "f.timestamp") + " GROUP BY heartbeat)")
		if live != 2 {
			return fmt.Sprintf("%d live flows with their connections are stored, want the 2 ends of one", live)
		}
		return ""
	})
	client.Close()
	_, _ = io.ReadAll(server)
	server.Close()
	eventually(t, func() string {
		var listens, connects, accepts, flows, sockets uint64
		if err := r.row(`SELECT countIf(kind = 'network_listen' AND backlog > 0), countIf(kind = 'network_connect' AND result = 'ok'), countIf(kind = 'network_accept'),
				countIf(kind = 'network_flow' AND final_state = 'established' AND bytes_sent + bytes_received = 5 AND duration_secs > 0), uniqExact(connection_id)
			FROM netview.events WHERE `+here, &listens, &connects, &accepts, &flows, &sockets); err != nil {
			return err.Error()
		}
		if listens != 1 || connects != 1 || accepts != 1 || flows != 2 || sockets != 3 {
			return fmt.Sprintf("%d listens, %d connects, %d accepts and %d flows of %d sockets are stored, want 1, 1, 1 and 2 of 3", listens, connects, accepts, flows, sockets)
		}
		return ""
	})
	// Other sensors that run here test themselves too, and are anybody to this one.
	if own := r.number(fmt.Sprintf("SELECT count() FROM netview.events WHERE destination_address = toIPv6('255.255.255.255') AND pid = %d", r.sensor.Command.Process.Pid)); own != 0 {
		t.Errorf("%d events of the sensor's test of itself are stored", own)
	}
	r.explained()
}
