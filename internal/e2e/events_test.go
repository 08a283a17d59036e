package e2e

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/internal/testns"
)

// TestEvents: what happens on the host between two heartbeats comes to ClickHouse
// by eBPF; what the sensor does to test itself does not.
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
	ns.Do(t, func() error {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer listener.Close()
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		server, err := listener.Accept()
		if err != nil {
			return err
		}
		_, _ = client.Write([]byte("hello"))
		client.Close()
		_, _ = server.Read(make([]byte, 5))
		return server.Close()
	})
	here := fmt.Sprintf("netns = %d AND pid = %d AND timestamp > now() - INTERVAL 1 MINUTE", ns.Inode, os.Getpid())
	eventually(t, func() string {
		connects := r.number("SELECT count() FROM netview.events WHERE kind = 'network_connect' AND result = 'ok' AND " + here)
		accepts := r.number("SELECT count() FROM netview.events WHERE kind = 'network_accept' AND " + here)
		flows := r.number("SELECT count() FROM netview.events WHERE kind = 'network_flow' AND final_state = 'established' AND bytes_sent + bytes_received = 5 AND duration_secs > 0 AND " + here)
		if connects != 1 || accepts != 1 || flows != 2 {
			return fmt.Sprintf("%d connects, %d accepts and %d flows are stored, want 1, 1 and the 2 ends of one", connects, accepts, flows)
		}
		return ""
	})
	// Other sensors that run here test themselves too, and are anybody to this one.
	if own := r.number(fmt.Sprintf("SELECT count() FROM netview.events WHERE destination_address = toIPv6('255.255.255.255') AND pid = %d", r.sensor.Command.Process.Pid)); own != 0 {
		t.Errorf("%d events of the sensor's test of itself are stored", own)
	}
	r.explained()
}
