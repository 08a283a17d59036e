package dns

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/netview-project/netview/event"
)

// How long a name is used.
const (
	// Programs keep addresses for longer than they should: the process that asked is
	// believed for at least ownLeast, whatever the TTL. getaddrinfo tells none.
	ownLeast = 10 * time.Minute
	// most is the longest that any name is used: what unbound caps a TTL at, too.
	most = 24 * time.Hour
)

// few is for how many names memory is used again: most addresses have one or two.
const few = 4

// mostPerAddress is how many names are remembered for an address, each for a
// process and a source.
const mostPerAddress = 16

// Names remembers for which names addresses were given, and to whom. Its memory is
// bounded by the number of names; those of the address that was met longest ago make
// room.
type Names struct {
	limit     int
	addresses *simplelru.LRU[place, []learned]
	held      int // names of all addresses
	others    []string
	old       [][]learned // memory that is used again
}

// place is an address as a network namespace sees it. In namespace 0 are all
// public addresses, which are the same everywhere.
type place struct {
	netns   uint64
	address netip.Addr
}

// learned is a name that a process got an address for.
type learned struct {
	name   string
	pid    uint32 // 0 where it is not known
	source string // event.NameFromLookup or NameFromAnswer
	at     time.Duration
	ttl    time.Duration // of an answer
}

// Found is a name of an address.
type Found struct {
	Name string
	// Source is [event.NameFromLookup] or [event.NameFromAnswer].
	Source string
	// SameProcess says that the process asked for the name itself.
	SameProcess bool
	Age         time.Duration
	// TTL of the answer; getaddrinfo tells none.
	TTL event.Optional[time.Duration]
	// Others are other names of the address, the newest first. The list is valid
	// until the next call.
	Others []string
}

// DefaultNames is how many names are remembered. They take 6 to 25 MB: the less, the
// more of them an address has.
const DefaultNames = 1 << 16

// NewNames remembers a number of names.
func NewNames(limit int) *Names {
	n := &Names{limit: limit}
	var err error
	n.addresses, err = simplelru.NewLRU(limit, func(_ place, list []learned) {
		n.held -= len(list)
		if cap(list) <= few {
			clear(list)
			n.old = append(n.old, list[:0])
		}
	})
	if err != nil {
		panic(err) // of a limit below 1
	}
	return n
}

// Learn takes the addresses that a process was given for a name, at a time of the
// boot clock. pid is 0 where the process is not known. The name is that of
// an event. The TTL of addresses counts for [event.NameFromAnswer] only. A name that is an address itself tells nothing.
func (n *Names) Learn(netns uint64, pid uint32, name string, addresses []Address, source string, at time.Duration) {
	if name == "" || name == "." || isAddress(name) {
		return
	}
	l := learned{name: name, pid: pid, source: source, at: at}
	for _, a := range addresses {
		if l.ttl = 0; source == event.NameFromAnswer {
			l.ttl = a.TTL
		}
		address := a.Address.Unmap()
		n.learn(place{netns, address}, l)
		// What getaddrinfo gave has no TTL within which others may use it.
		if public(address) && source == event.NameFromAnswer {
			n.learn(place{0, address}, l)
		}
	}
}

// isAddress reports whether a name is an address as text. To parse what cannot be
// one would cost an error.
func isAddress(name string) bool {
	last := name[len(name)-1]
	if (last < '0' || last > '9') && !strings.Contains(name, ":") {
		return false
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

func (n *Names) learn(at place, l learned) {
	list, known := n.addresses.Get(at)
	if !known && len(n.old) > 0 {
		list, n.old = n.old[len(n.old)-1], n.old[:len(n.old)-1]
	}
	i := slices.IndexFunc(list, func(o learned) bool { return o.name == l.name && o.pid == l.pid && o.source == l.source })
	switch {
	case i >= 0:
		list = slices.Delete(list, i, i+1)
	case len(list) == mostPerAddress:
		list = slices.Delete(list, 0, 1) // the oldest
	default:
		n.held++
	}
	n.addresses.Add(at, append(list, l))
	for n.held > n.limit {
		n.addresses.RemoveOldest()
	}
}

// Find returns the name by which a process knows an address at a time of the boot
// clock. The newest that it asked for itself wins. Failing that it is the newest that
// another process of the network namespace was given in an answer, or any process of
// the host where the address is public, as long as the TTL lasts. What was learned
// before the process began is of another that had its pid.
func (n *Names) Find(netns uint64, pid uint32, began time.Duration, address netip.Addr, at time.Duration) (found Found, ok bool) {
	address = address.Unmap()
	n.others = n.others[:0]
	here, _ := n.addresses.Get(place{netns, address})
	n.gather(&found, here, pid, began, true, at)
	n.gather(&found, here, pid, began, false, at)
	if public(address) {
		everywhere, _ := n.addresses.Get(place{0, address})
		n.gather(&found, everywhere, pid, began, false, at)
	}
	found.Others = n.others
	return found, found.Name != ""
}

// gather takes the names of a list that the process asked for itself, or those that
// others did, the newest first.
func (n *Names) gather(found *Found, list []learned, pid uint32, began time.Duration, own bool, at time.Duration) {
	for i := len(list) - 1; i >= 0; i-- {
		l := &list[i]
		if same := l.pid == pid && pid != 0 && l.at >= began; same != own || !l.lives(own, at) {
			continue
		}
		if found.Name == "" {
			found.Name, found.Source, found.SameProcess, found.Age = l.name, l.source, own, at-l.at
			found.TTL = event.Optional[time.Duration]{Value: l.ttl, Known: l.source == event.NameFromAnswer}
		} else if l.name != found.Name && !slices.Contains(n.others, l.name) {
			n.others = append(n.others, l.name)
		}
	}
}

// lives reports whether a name may still be used: by the process that asked, or by
// others.
func (l *learned) lives(own bool, at time.Duration) bool {
	age := at - l.at
	if age < 0 { // it was not known yet
		return false
	}
	if own {
		return age <= min(max(l.ttl, ownLeast), most)
	}
	return l.source == event.NameFromAnswer && age <= min(l.ttl, most)
}

// shared is the block that carriers give to customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// public reports whether an address is the same one in every network.
func public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a)
}
