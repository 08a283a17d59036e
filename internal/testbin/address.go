package testbin

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
)

// port is the last that [FreeAddress] has tried.
var port atomic.Uint32

func init() { port.Store(10_000 + rand.Uint32N(20_000)) }

// FreeAddress returns a loopback address that nobody listens on. It stays below
// the ports that the kernel hands out by itself, where a client of another test
// could take it before the test does.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+port.Add(1)%20_000)
		if listener, err := net.Listen("tcp", address); err == nil {
			listener.Close()
			return address
		}
	}
	t.Fatal("no free port between 10000 and 30000")
	return ""
}
