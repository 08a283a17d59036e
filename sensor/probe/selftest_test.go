package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/sensor/bpf"
)

// TestAsk: the self-test's question reaches nobody else, whoever has its port.
func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		shared, alone []int // ports that another has on all addresses
		want          error
	}{
		"nobody has the ports":                                    {nil, nil, nil},
		"somebody shares them":                                    {[]int{5353, 53}, nil, nil},
		"somebody has that of mDNS alone":                         {nil, []int{5353}, nil},
		"somebody has that of mDNS alone, and shares that of DNS": {[]int{53}, []int{5353}, nil},
		"somebody has both alone":                                 {nil, []int{5353, 53}, errNoPort},
	} {
		t.Run(name, func(t *testing.T) {
			testns.New(t).Do(t, func() error {
				k := &talk{cookies: map[uint64]bool{}}
				defer k.close()
				for _, port := range c.shared {
					if _, err := k.bound(unix.SOCK_DGRAM, any4(port)); err != nil {
						return err
					}
				}
				for _, port := range c.alone {
					fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
					if err != nil {
						return err
					}
					k.fds = append(k.fds, fd)
					if err := unix.Bind(fd, any4(port)); err != nil {
						return err
					}
				}
				test := &selfTest{}
				if err := test.ask(); !errors.Is(err, c.want) || len(test.askers) == 0 && c.want == nil {
					return fmt.Errorf("asking, as sockets %v: %w", test.askers, err)
				}
				for _, fd := range k.fds {
					if n, _, err := unix.Recvfrom(fd, make([]byte, 100), unix.MSG_DONTWAIT); err != unix.EAGAIN {
						return fmt.Errorf("a stranger receives %d bytes: %w", n, err)
					}
				}
				return nil
			})
		})
	}
}

// TestRoom: a feature is tested though the ring buffer was full when its turn came.
func TestRoom(t *testing.T) {
	ns := testns.New(t)
	flow, dns := candidates[0], candidateOf(FeatureDNS)
	crowded := dns
	crowded.load = func() (*ebpf.CollectionSpec, error) {
		ns.Churn(t, 30_000, nil)
		return dns.load()
	}
	p := open(slog.New(slog.DiscardHandler), []candidate{flow, crowded})
	defer p.Close()
	if !p.Tells() {
		t.Skipf("no eBPF here: %v", p.Features()[0].Err)
	}
	if p.Dropped() == 0 {
		t.Fatal("the ring buffer was not overrun")
	}
	if f := p.feature(FeatureDNS); f.Err != nil {
		t.Errorf("%s is off: %v", f.Name, f.Err)
	}
}

// TestOpenInFlood: a sensor that starts on a host whose connections are more than it
// can keep up with has the same features as on a quiet one.
func TestOpenInFlood(t *testing.T) {
	quiet := Open(slog.New(slog.DiscardHandler))
	defer quiet.Close()
	if !quiet.Tells() {
		t.Skipf("no eBPF here: %v", quiet.Features()[0].Err)
	}
	stop := make(chan struct{})
	var floods sync.WaitGroup
	for range 2 {
		ns := testns.New(t)
		floods.Go(func() { ns.Churn(t, math.MaxInt, stop) })
	}
	p := Open(slog.New(slog.DiscardHandler))
	close(stop)
	floods.Wait()
	defer p.Close()
	for i, f := range p.Features() {
		if before := quiet.Features()[i]; f.Hook != before.Hook || (f.Err == nil) != (before.Err == nil) {
			t.Errorf("%s rests on %s (%v), without the flood on %s (%v)", f.Name, f.Hook, f.Err, before.Hook, before.Err)
		}
	}
	t.Logf("%d bytes are kept, %d records found no room", p.earlyBytes, p.Dropped())
}

// TestMostEarly: what is kept until somebody listens has a bound, and what is beyond
// it is counted.
func TestMostEarly(t *testing.T) {
	ns := testns.New(t)
	p := open(slog.New(slog.DiscardHandler), candidates[:1])
	defer p.Close()
	if !p.Tells() {
		t.Skipf("no eBPF here: %v", p.Features()[0].Err)
	}
	before, kept := p.Dropped(), len(p.early)
	p.earlyBytes = mostEarly
	ns.Churn(t, 100, nil)
	if err := p.makeRoom(); err != nil {
		t.Fatal(err)
	}
	if dropped := p.Dropped() - before; len(p.early) != kept || dropped < 300 || p.Lost()[CauseRing] != p.Dropped() {
		t.Errorf("%d records are kept beyond the bound and %d are lost (%v), of 100 connections", len(p.early)-kept, dropped, p.Lost())
	}
}

// TestAttempts: what is told late, of an attempt that was given up, is neither for the
// next one nor for anybody else.
func TestAttempts(t *testing.T) {
	test := &selfTest{netns: 1, ports: map[uint16]bool{}, askers: []uint64{7, 8}}
	event := func(port uint16) *Event {
		return &Event{Netns: 1, Family: FamilyIPv4, Type: bpf.StateNvTypeNV_ACCEPT, LocalPort: port}
	}
	test.ports[1000] = true
	test.again()
	test.ports[2000] = true
	for _, c := range []struct {
		port, cookie int
		feature      string
		ours         bool
	}{{1000, 7, "", true}, {3000, 9, "", false}} {
		for what, shown := range map[string]func() (string, bool){
			"a connection": func() (string, bool) { return test.shown(event(uint16(c.port))) },
			"a packet":     func() (string, bool) { return test.asked(uint64(c.cookie)) },
		} {
			if feature, ours := shown(); feature != c.feature || ours != c.ours {
				t.Errorf("%s of port %d or socket %d: %q, %t", what, c.port, c.cookie, feature, ours)
			}
		}
	}
	if feature, ours := test.shown(event(2000)); feature != FeatureAccept || !ours {
		t.Errorf("a connection of this attempt: %q, %t", feature, ours)
	}
	if feature, ours := test.asked(8); feature != FeatureDNS || !ours {
		t.Errorf("a packet of this attempt: %q, %t", feature, ours)
	}
}
