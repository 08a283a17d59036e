package sensor

import (
	"context"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/process"
)

// TestFlood: more is told than the ring buffer holds, while nobody reads it. What
// was made is what came, and what is counted as lost.
func TestFlood(t *testing.T) {
	ns := testns.New(t)
	p := probe.Open(slog.New(slog.DiscardHandler))
	defer p.Close()
	if !p.Tells() {
		t.Skipf("no eBPF here: %v", p.Features()[0].Err)
	}
	const connections = 25_000
	// The connect, the accept, and the end at both sides; and the listener.
	made := 4*connections + 1
	for _, f := range p.Features() {
		if f.Name == probe.FeatureLSM && f.Err == nil {
			made += connections
		}
	}
	ns.Churn(t, connections, nil)

	var mutex sync.Mutex
	came := map[event.Kind]int{}
	h := newHappenings(event.Resource{SensorID: "flood"}, &process.Table{Proc: "/proc"}, func(events []event.Event) {
		mutex.Lock()
		defer mutex.Unlock()
		for _, e := range events {
			if netns, port := whereabouts(e); netns == ns.Inode && port == testns.ChurnPort {
				came[e.Kind()]++
			}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Run(ctx, probe.Handler{Event: h.take, Packet: h.takePacket, Idle: h.flush}); err != nil {
			t.Error(err)
		}
	})
	waited, stop := context.WithTimeout(ctx, time.Minute)
	p.Sync(waited)
	stop()
	lost := p.Lost()
	cancel()
	running.Wait()
	h.flush()

	total := 0
	for _, n := range came {
		total += n
	}
	t.Logf("%d connections: %v came, lost %v", connections, came, lost)
	missing := made - total
	if missing <= 0 {
		t.Fatalf("%d records came of %d: the ring buffer was not overrun", total, made)
	}
	switch n := lost[probe.CauseRing]; {
	case n == uint64(missing):
	case os.Getenv("NETVIEW_ALONE") == "" && n > uint64(missing):
		t.Logf("%d more are lost: others on this host were told of too", n-uint64(missing))
	default:
		t.Errorf("%d records are missing, and %d are counted as lost", missing, n)
	}
	for cause, n := range lost {
		if cause != probe.CauseRing && n > 0 {
			t.Errorf("%d are lost as %s", n, cause)
		}
	}
}

// TestDroppedAnswer: whether a question was answered is not known where the answer may
// have been among what found no room; of one that is asked afterwards it is.
func TestDroppedAnswer(t *testing.T) {
	ns := testns.New(t)
	p := probe.Open(slog.New(slog.DiscardHandler))
	defer p.Close()
	if !p.On(probe.FeatureDNS) {
		t.Skipf("no packets are told of here: %v", p.Features())
	}
	var server net.PacketConn
	var client net.Conn
	ns.Do(t, func() (err error) {
		if server, err = net.ListenPacket("udp4", "127.0.0.1:53"); err != nil {
			return err
		}
		client, err = net.Dial("udp4", "127.0.0.1:53")
		return err
	})
	defer server.Close()
	defer client.Close()
	ask := func(name string) (question *dns.Msg) {
		question = new(dns.Msg).SetQuestion(name, dns.TypeA)
		data, err := question.Pack()
		if err == nil {
			_, err = client.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
		return question
	}
	answer, err := new(dns.Msg).SetReply(ask("dropped.test.")).Pack()
	if err != nil {
		t.Fatal(err)
	}
	ns.Churn(t, 25_000, nil)
	if _, err := server.WriteTo(answer, client.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if p.Dropped() == 0 {
		t.Fatal("the ring buffer was not overrun")
	}

	told := make(chan string, 2)
	h := newHappenings(event.Resource{SensorID: "flood"}, &process.Table{Proc: "/proc"}, func(events []event.Event) {
		for _, e := range events {
			if q, is := e.(*event.DNSQuery); is && q.Netns == ns.Inode {
				told <- q.Name + " " + q.Result
			}
		}
	})
	h.dropped = p.Dropped
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Run(ctx, probe.Handler{Event: h.take, Packet: h.takePacket, Idle: h.flush}); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	p.Sync(ctx)
	ask("unanswered.test.")
	for _, want := range []string{"dropped.test unfinished", "unanswered.test no_answer"} {
		if got := <-told; got != want {
			t.Errorf("told is %s, want %s", got, want)
		}
	}
}

// whereabouts are the namespace and the destination's port of an event.
func whereabouts(e event.Event) (netns uint64, port uint16) {
	switch e := e.(type) {
	case *event.NetworkConnect:
		return e.Netns, e.DestinationPort
	case *event.NetworkAccept:
		return e.Netns, e.DestinationPort
	case *event.NetworkFlow:
		return e.Netns, e.DestinationPort
	case *event.NetworkListen:
		return e.Netns, e.DestinationPort
	case *event.LSMNetConnect:
		return e.Netns, e.DestinationPort
	}
	return 0, 0
}
