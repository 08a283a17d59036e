package faults

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// balancer stands before the collectors, as a load balancer of layer 4 does. Its
// connections can be cut, in the middle of a request too.
type balancer struct {
	address string
	mutex   sync.Mutex
	random  *rand.Rand
	targets []string
	open    map[net.Conn]struct{}
	// cutAfter is after how many bytes new connections are cut; 0 is never.
	cutAfter int64
	cuts     int
}

func startBalancer(t testing.TB, random *rand.Rand) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{address: listener.Addr().String(), random: random, open: map[net.Conn]struct{}{}}
	t.Cleanup(func() {
		listener.Close()
		b.cut()
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go b.serve(client)
		}
	}()
	return b
}

func (b *balancer) setTargets(targets ...string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.targets = targets
}

func (b *balancer) setCutAfter(bytes int64) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.cutAfter = bytes
}

func (b *balancer) serve(client net.Conn) {
	b.mutex.Lock()
	order := b.random.Perm(len(b.targets))
	targets, budget := b.targets, b.cutAfter
	if budget > 0 {
		budget = 1 + b.random.Int64N(budget)
	}
	b.mutex.Unlock()
	for _, i := range order {
		server, err := net.DialTimeout("tcp", targets[i], time.Second)
		if err != nil {
			continue
		}
		b.mutex.Lock()
		b.open[client], b.open[server] = struct{}{}, struct{}{}
		b.mutex.Unlock()
		var both sync.WaitGroup
		both.Go(func() { b.relay(server, client, budget) })
		both.Go(func() { b.relay(client, server, 0) })
		both.Wait()
		b.mutex.Lock()
		delete(b.open, client)
		delete(b.open, server)
		b.mutex.Unlock()
		return
	}
	client.Close()
}

// relay copies, up to a number of bytes, and then ends both directions.
func (b *balancer) relay(to, from net.Conn, budget int64) {
	if budget > 0 {
		if n, _ := io.Copy(to, io.LimitReader(from, budget)); n == budget {
			b.mutex.Lock()
			b.cuts++
			b.mutex.Unlock()
			reset(to)
			reset(from)
		}
	} else {
		_, _ = io.Copy(to, from)
	}
	to.Close()
	from.Close()
}

func reset(c net.Conn) {
	if tcp, is := c.(*net.TCPConn); is {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// cut resets every connection.
func (b *balancer) cut() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for c := range b.open {
		reset(c)
		b.cuts++
	}
}
