// Package testproc makes a procfs for tests.
package testproc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Host is a procfs that the test writes: one namespace, and process 100 in it.
type Host struct {
	t       testing.TB
	Proc    string              // its root
	sockets map[string][]string // rows by table
	owned   []int               // inodes of process 100
}

const tableHeader = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

// Addresses as the kernel prints them on a little-endian machine.
const (
	Loopback = "0100007F"
	Any4     = "00000000"
	Here     = "010200C0" // 192.0.2.1
	There    = "020200C0" // 192.0.2.2
)

// States as the kernel numbers them.
const (
	Established = 1
	TimeWait    = 6
	Closed      = 7
	CloseWait   = 8
	Listen      = 10
)

// New makes a procfs with one network namespace, and process 100 in it.
func New(t testing.TB) *Host {
	h := &Host{t: t, Proc: t.TempDir(), sockets: map[string][]string{}}
	task := h.Path("100/task/100")
	h.Must(os.MkdirAll(task+"/ns", 0o755), os.MkdirAll(task+"/net", 0o755), os.MkdirAll(h.Path("100/ns"), 0o755),
		os.Symlink("net:[1]", task+"/ns/net"), os.Symlink("net:[1]", h.Path("100/ns/net")), os.Symlink("/usr/bin/served", h.Path("100/exe")),
		os.WriteFile(h.Path("100/stat"), []byte("100 (served) S 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n"), 0o644),
		os.WriteFile(h.Path("100/status"), []byte("Name:\tserved\nUid:\t0\t0\t0\t0\n"), 0o644),
		os.WriteFile(h.Path("100/cgroup"), []byte("0::/\n"), 0o644), os.WriteFile(h.Path("100/cmdline"), []byte("served\x00--token=abc\x00"), 0o644))
	return h
}

// Path of a file in it.
func (h *Host) Path(name string) string { return filepath.Join(h.Proc, name) }

// Must fails the test for the first error.
func (h *Host) Must(errs ...error) {
	h.t.Helper()
	for _, err := range errs {
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// Socket adds a row; owned sockets are process 100's.
func (h *Host) Socket(table, local string, localPort int, remote string, remotePort, state, inode int, owned bool) {
	h.sockets[table] = append(h.sockets[table], fmt.Sprintf("%4d: %s:%04X %s:%04X %02X 00000000:00000000 00:00000000 00000000 %5d %8d %d 1 0000000000000000 100 0 0 10 0\n",
		len(h.sockets[table]), local, localPort, remote, remotePort, state, 0, 0, inode))
	if owned {
		h.owned = append(h.owned, inode)
	}
}

// Raw adds a line of any content.
func (h *Host) Raw(table, line string) { h.sockets[table] = append(h.sockets[table], line) }

// Write puts the sockets where the sensor reads them.
func (h *Host) Write() {
	h.t.Helper()
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		h.Must(os.WriteFile(h.Path("100/task/100/net/"+table), []byte(tableHeader+strings.Join(h.sockets[table], "")), 0o644))
	}
	h.Must(os.RemoveAll(h.Path("100/fd")), os.Mkdir(h.Path("100/fd"), 0o755))
	for i, inode := range h.owned {
		h.Must(os.Symlink(fmt.Sprintf("socket:[%d]", inode), h.Path(fmt.Sprintf("100/fd/%d", i+3))))
	}
}

// Forget removes all sockets.
func (h *Host) Forget() { h.sockets, h.owned = map[string][]string{}, nil }
