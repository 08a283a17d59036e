package sensor

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/socket"
)

// limits tells how near the host's sockets are to what stops them. Its memory is
// reused.
type limits struct {
	total   event.Limits
	accepts map[uint64]socket.Accepts // as they were, by namespace
	used    map[destination]int
}

// destination of TCP sockets that each need a local port of their own.
type destination struct {
	netns  uint64
	local  netip.Addr
	remote netip.AddrPort
}

// update looks at a socket table, and at the conntrack of a procfs.
func (l *limits) update(proc string, table *socket.Table) event.Limits {
	l.countAccepts(table.Seen)
	l.total.EphemeralPorts = l.ephemeralPorts(table)
	l.total.Conntrack, l.total.ConntrackLimit = 0, 0
	entries, counted := readNumber(filepath.Join(proc, "sys/net/netfilter/nf_conntrack_count"))
	most, limited := readNumber(filepath.Join(proc, "sys/net/netfilter/nf_conntrack_max"))
	if counted && limited {
		l.total.Conntrack, l.total.ConntrackLimit = entries, most
	}
	return l.total
}

// countAccepts adds what the counters of each namespace gained. What a namespace
// counted before it was met is not the sensor's to tell, and one that ends takes
// nothing away.
func (l *limits) countAccepts(namespaces []socket.Namespace) {
	now := make(map[uint64]socket.Accepts, len(namespaces))
	for _, ns := range namespaces {
		before, met := l.accepts[ns.Inode]
		now[ns.Inode] = ns.Accepts
		switch {
		case !ns.Accepts.Known:
			now[ns.Inode] = before
		case met && before.Known && ns.Accepts.Overflows >= before.Overflows && ns.Accepts.Drops >= before.Drops:
			l.total.ListenOverflows += ns.Accepts.Overflows - before.Overflows
			l.total.ListenDrops += ns.Accepts.Drops - before.Drops
		}
	}
	l.accepts = now
}

// ephemeralPorts is the largest part of its namespace's range that one
// destination uses.
func (l *limits) ephemeralPorts(table *socket.Table) (part float64) {
	if l.used == nil {
		l.used = map[destination]int{}
	}
	clear(l.used)
	ranges := make(map[uint64]socket.PortRange, len(table.Seen))
	for _, ns := range table.Seen {
		ranges[ns.Inode] = ns.Ephemeral
	}
	for i := range table.Rows {
		row := &table.Rows[i]
		ports := ranges[row.Netns]
		if row.Protocol != socket.TCP || row.Remote.Port() == 0 || !ports.Has(row.Local.Port()) {
			continue
		}
		to := destination{row.Netns, row.Local.Addr(), row.Remote}
		l.used[to]++
		part = max(part, float64(l.used[to])/float64(int(ports.Last)-int(ports.First)+1))
	}
	return part
}

// readNumber reads a file that the kernel has only where its module is loaded.
func readNumber(name string) (n uint64, known bool) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
