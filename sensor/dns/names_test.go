package dns

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/netview-project/netview/event"
)

const (
	looked   = event.NameFromLookup
	answered = event.NameFromAnswer
)

func TestNames(t *testing.T) {
	const publicAddress, private, mapped = "198.51.100.1", "10.1.2.3", "::ffff:198.51.100.1"
	for _, test := range []struct {
		name  string
		learn func(learn func(netns uint64, pid uint32, name, address, source string, ttl, at time.Duration))
		// asked by process 10 in namespace 1, one hour after the start.
		address, want string
	}{
		{"nothing is known", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {}, publicAddress, ""},
		{"its own lookup", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 10, HostName("WWW.example.com."), publicAddress, looked, 7*time.Second, time.Hour-time.Second)
		}, mapped, "www.example.com by getaddrinfo true 1s {0s false} []"},
		{"an address of IPv6", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 10, "v6.example.com", "2001:db8::1", answered, 0, time.Hour)
		}, "2001:db8::1", "v6.example.com by dns_answer true 0s {0s true} []"},
		{"its own answer, after the TTL, within the floor", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 10, "www.example.com", publicAddress, answered, time.Second, time.Hour-ownLeast)
		}, publicAddress, "www.example.com by dns_answer true 10m0s {1s true} []"},
		{"its own answer, after the floor", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 10, "www.example.com", publicAddress, answered, time.Second, time.Hour-ownLeast-1)
		}, publicAddress, ""},
		{"its own names, the newest first, and those of others behind", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 10, "first.example.com", publicAddress, answered, time.Minute, time.Hour-50*time.Second)
			learn(1, 10, "second.example.com", publicAddress, answered, time.Minute, time.Hour-40*time.Second)
			learn(1, 10, "second.example.com", publicAddress, looked, 0, time.Hour-39*time.Second)
			learn(1, 20, "other.example.com", publicAddress, answered, time.Minute, time.Hour)
			learn(2, 30, "elsewhere.example.com", publicAddress, answered, time.Minute, time.Hour)
		}, publicAddress, "second.example.com by getaddrinfo true 39s {0s false} [first.example.com other.example.com elsewhere.example.com]"},
		{"a name asked for once more is the newest", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 10, "a.example.com", publicAddress, answered, time.Minute, time.Hour-3)
			learn(1, 10, "b.example.com", publicAddress, answered, time.Minute, time.Hour-2)
			learn(1, 10, "a.example.com", publicAddress, answered, time.Minute, time.Hour-1)
		}, publicAddress, "a.example.com by dns_answer true 1ns {1m0s true} [b.example.com]"},
		{"another process's answer, within the TTL", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 20, "db.example.com", private, answered, time.Minute, time.Hour-time.Minute)
		}, private, "db.example.com by dns_answer false 1m0s {1m0s true} []"},
		{"another process's answer, after it", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 20, "db.example.com", private, answered, time.Minute, time.Hour-time.Minute-1)
		}, private, ""},
		{"another process's lookup, which has no TTL", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 20, "db.example.com", private, looked, time.Minute, time.Hour)
		}, private, ""},
		{"a private address in another namespace, even the process's own", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(2, 10, "db.example.com", private, answered, time.Minute, time.Hour)
			learn(2, 20, "db.example.com", "100.64.0.1", answered, time.Minute, time.Hour)
		}, private, ""},
		{"a public address in another namespace", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(2, 20, "www.example.com", publicAddress, answered, time.Minute, time.Hour)
		}, publicAddress, "www.example.com by dns_answer false 0s {1m0s true} []"},
		{"a TTL of 68 years, after a day", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 10, "www.example.com", publicAddress, answered, 1<<31*time.Second, time.Hour-most-1)
		}, publicAddress, ""},
		{"processes that are not known are not the same", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 0, "www.example.com", publicAddress, looked, 0, time.Hour)
		}, publicAddress, ""},
		{"another's that had its pid", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 10, "looked.example.com", private, looked, 0, time.Minute-1)
			learn(1, 10, "www.example.com", private, answered, time.Hour, time.Minute-1)
		}, private, "www.example.com by dns_answer false 59m0.000000001s {1h0m0s true} []"},
		{"addresses as names", func(learn func(uint64, uint32, string, string, string, time.Duration, time.Duration)) {
			learn(1, 10, "198.51.100.1", publicAddress, looked, 0, time.Hour)
			learn(1, 10, "::1", publicAddress, looked, 0, time.Hour)
			learn(1, 10, "", publicAddress, looked, 0, time.Hour)
		}, publicAddress, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := NewNames(100)
			test.learn(func(netns uint64, pid uint32, name, address, source string, ttl, at time.Duration) {
				n.Learn(netns, pid, name, []Address{{netip.MustParseAddr(address), ttl}}, source, at)
			})
			got := ""
			if f, ok := n.Find(1, 10, time.Minute, netip.MustParseAddr(test.address), time.Hour); ok {
				got = fmt.Sprintf("%s by %s %t %v %v %v", f.Name, f.Source, f.SameProcess, f.Age, f.TTL, f.Others)
			}
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestNamesAreBounded: whatever is learned, as many names are held as may be, and
// the newest are there.
func TestNamesAreBounded(t *testing.T) {
	n := NewNames(DefaultNames)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 200_000 {
		address := netip.AddrFrom4([4]byte{198, 18, byte(i >> 12), byte(i >> 4)}) // 16 names each
		n.Learn(1, uint32(i), fmt.Sprintf("host-%d.example.com", i), []Address{{address, time.Minute}}, answered, 0)
	}
	if f, ok := n.Find(1, 5, 0, netip.AddrFrom4([4]byte{198, 18, byte(199_999 >> 12), byte(199_999 >> 4 & 0xff)}), 0); !ok || len(f.Others) != mostPerAddress-1 {
		t.Errorf("the newest is %+v", f)
	}
	for i := range 200_000 { // and one each
		n.Learn(1, uint32(i), fmt.Sprintf("host-%d.example.com", i), []Address{{netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), time.Minute}}, answered, 0)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := 0
	for _, list := range n.addresses.Values() {
		if len(list) > mostPerAddress {
			t.Fatalf("%d names of an address", len(list))
		}
		held += len(list)
	}
	if held != n.held || held > DefaultNames || held < DefaultNames-mostPerAddress {
		t.Errorf("%d names are held, counted are %d of %d", held, n.held, DefaultNames)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 30<<20 {
		t.Errorf("%d MB are held", grown>>20)
	} else {
		t.Logf("%d names hold %.1f MB", held, float64(grown)/(1<<20))
	}
}

func TestLists(t *testing.T) {
	var l Lists
	first := event.DNSQuery{Servers: []string{"a"}, Answers: []string{"b", "c"}, AnswerTypes: []string{"A", "A"}, AnswerTTLs: []uint32{1, 2}}
	source := first
	l.Keep(&first)
	for range 100 { // which moves the memory
		again := source
		l.Keep(&again)
	}
	source.Answers[0] = "overwritten"
	if fmt.Sprint(first.Servers, first.Answers, first.AnswerTypes, first.AnswerTTLs) != "[a] [b c] [A A] [1 2]" || cap(first.Answers) != 2 {
		t.Errorf("%+v", first)
	}
	if l.Empty(); l.Texts(nil) != nil || l.texts[:1][0] != "" {
		t.Error("Empty leaves strings behind")
	}
}
