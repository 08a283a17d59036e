package probe

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/bpf"
	"github.com/netview-project/netview/sensor/probe/kernelfs"
	"github.com/netview-project/netview/sensor/rights"
)

// Features that a kernel may give.
const (
	// FeatureFlow: connections that end, with their bytes, and attempts to connect
	// to which the network had an answer. All others rest on it.
	FeatureFlow = "flow"
	// FeatureListen: sockets that begin to listen.
	FeatureListen = "listen"
	// FeatureAccept: the process of a connection that was accepted.
	FeatureAccept = "accept"
	// FeatureUring: the same, of a connection that was accepted by io_uring(7), or by
	// a 32-bit program where the hook is fexit.
	FeatureUring = "io_uring_accept"
	// FeatureConnect: attempts that fail on the host itself, such as those without
	// a route.
	FeatureConnect = "connect"
	// FeatureUDPConnect: UDP sockets that are connected, at their first datagram.
	FeatureUDPConnect = "udp_connect"
	// FeatureConnectionID: the cookie of a socket, by which the events of a connection
	// belong together. Failed attempts may lack it.
	FeatureConnectionID = "connection_id"
	// FeatureLSM: what the hook socket_connect of the LSM sees.
	FeatureLSM = "lsm"
	// FeatureDNS: packets between processes and DNS servers.
	FeatureDNS = "dns"
	// FeatureSeed: the process of connections that are older than the sensor.
	FeatureSeed = "seed"
	// FeatureLookup: calls of getaddrinfo(3), in the libcs to which [Probe.AttachLookups]
	// has attached the programs.
	FeatureLookup = "dns_lookup"
	// FeatureExec: programs that run where there may be a libc which is new.
	FeatureExec = "exec"
)

// untested are features that nothing which the sensor does would show: it has no
// libc of its own.
var untested = []string{FeatureLookup, FeatureExec}

// flags by the features that each turns off.
var flags = map[string]string{FeatureLookup: "--dns.lookups", FeatureExec: "--dns.lookups"}

// candidate is one way to make a feature: an object whose programs do it together.
type candidate struct {
	feature, hook string
	// load is nil where the programs of another feature make this one too, as long
	// as it is made by the same hook.
	load   func() (*ebpf.CollectionSpec, error)
	attach func(*ebpf.Collection) ([]io.Closer, error)
}

// candidates by feature, the best of each first. FeatureFlow comes first: it
// brings the maps that all share.
//
// tp_btf rather than the tracepoint's own record, which has no socket. What fexit
// sees serves io_uring and 32-bit programs too, which the tracepoints of syscalls
// miss; but the end of a call that began before the sensor is seen by these alone.
//
// Where UDP is told by kprobes, these cannot ask for a socket's cookie; nor can any of
// the others on kernels before 5.12, which have no better for UDP than kprobes either.
var candidates = []candidate{
	{FeatureFlow, "tp_btf/inet_sock_set_state", bpf.LoadState, tracing("state_changed")},
	{FeatureListen, "tp_btf/inet_sock_set_state", nil, nil},
	{FeatureAccept, "tracepoint/syscalls/sys_exit_accept4", bpf.LoadAccept, syscalls("sys_exit_accept4", "accept4_ended", "sys_exit_accept", "accept_ended")},
	{FeatureAccept, "fexit/inet_csk_accept", bpf.LoadFexitAccept, tracing("inet_csk_accept_ended")},
	{FeatureUring, "fexit/inet_csk_accept", bpf.LoadFexitAccept, tracing("inet_csk_accept_ended")},
	{FeatureUring, "kretprobe/inet_csk_accept", bpf.LoadKprobe, kprobes("kretprobe/inet_csk_accept", "accept_returned")},
	{FeatureUring, "tp_btf/io_uring_complete", bpf.LoadUring, tracing("uring_completed")},
	{FeatureConnect, "fexit/inet_stream_connect", bpf.LoadFexitConnect, tracing("stream_connect_began", "stream_connect_ended")},
	{FeatureConnect, "tracepoint/syscalls/sys_exit_connect", bpf.LoadConnect, syscalls("sys_enter_connect", "connect_began", "sys_exit_connect", "connect_ended")},
	{FeatureUDPConnect, "fexit/udp_sendmsg", bpf.LoadFexitUDP, tracing("udp_sent", "udpv6_sent")},
	{FeatureUDPConnect, "tp_btf/sock_send_length", bpf.LoadUDP, tracing("sent")},
	{FeatureUDPConnect, "kprobe/udp_sendmsg", bpf.LoadKprobe, kprobes("kprobe/udp_sendmsg", "udp_sends", "kprobe/udpv6_sendmsg", "udpv6_sends")},
	{FeatureConnectionID, "fexit/udp_sendmsg", nil, nil},
	{FeatureConnectionID, "tp_btf/sock_send_length", nil, nil},
	{FeatureConnectionID, "cgroup/sock_create", bpf.LoadCookie, cgroup(map[string]ebpf.AttachType{"socket_made": ebpf.AttachCGroupInetSockCreate, "connection_made": ebpf.AttachCGroupSockOps})},
	{FeatureLSM, "lsm/socket_connect", bpf.LoadLSM, lsm},
	{FeatureDNS, "cgroup_skb", bpf.LoadDNS, cgroup(map[string]ebpf.AttachType{"packet_sent": ebpf.AttachCGroupInetEgress, "packet_received": ebpf.AttachCGroupInetIngress})},
	{FeatureSeed, "iter/task_file", bpf.LoadSeed, seed},
	{FeatureLookup, hookMulti, loadLookupMulti, lookupsByMulti},
	{FeatureLookup, "uprobe/getaddrinfo", bpf.LoadLookup, lookupsByPerf},
	{FeatureExec, "tp_btf/sched_process_exec", bpf.LoadExec, tracing("executed")},
}

// tracing attaches programs that name their hook themselves.
func tracing(programs ...string) func(*ebpf.Collection) ([]io.Closer, error) {
	return func(c *ebpf.Collection) (links []io.Closer, err error) {
		for _, name := range programs {
			l, err := link.AttachTracing(link.TracingOptions{Program: c.Programs[name]})
			if err != nil {
				return links, fmt.Errorf("attaching %s: %w", name, err)
			}
			links = append(links, l)
		}
		return links, nil
	}
}

// syscalls attaches programs to tracepoints of syscalls, given in pairs.
func syscalls(pairs ...string) func(*ebpf.Collection) ([]io.Closer, error) {
	return func(c *ebpf.Collection) (links []io.Closer, err error) {
		dir, done, err := kernelfs.Tracefs()
		if err != nil {
			return nil, err
		}
		defer done()
		for i := 0; i < len(pairs); i += 2 {
			l, err := kernelfs.AttachTracepoint(dir, "syscalls", pairs[i], c.Programs[pairs[i+1]])
			if err != nil {
				return links, err
			}
			links = append(links, l)
		}
		return links, nil
	}
}

// kprobes attaches programs to functions, given in pairs.
func kprobes(pairs ...string) func(*ebpf.Collection) ([]io.Closer, error) {
	return func(c *ebpf.Collection) (links []io.Closer, err error) {
		for i := 0; i < len(pairs); i += 2 {
			kind, function, _ := strings.Cut(pairs[i], "/")
			attach := link.Kprobe
			if kind == "kretprobe" {
				attach = link.Kretprobe
			}
			l, err := attach(function, c.Programs[pairs[i+1]], nil)
			if err != nil {
				return links, fmt.Errorf("attaching to %s: %w", function, err)
			}
			links = append(links, l)
		}
		return links, nil
	}
}

// cgroup attaches programs to the root of all cgroups, beside those of others.
func cgroup(programs map[string]ebpf.AttachType) func(*ebpf.Collection) ([]io.Closer, error) {
	return func(c *ebpf.Collection) (links []io.Closer, err error) {
		root, done, err := cgroupRoot()
		if err != nil {
			return nil, err
		}
		defer done()
		for name, kind := range programs {
			l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: kind, Program: c.Programs[name]})
			if err != nil {
				return links, fmt.Errorf("attaching %s: %w", name, err)
			}
			links = append(links, l)
		}
		return links, nil
	}
}

// lsm asks first: a kernel that does not call the program takes it all the same, and
// the self-test would need its whole patience to see that.
func lsm(c *ebpf.Collection) ([]io.Closer, error) {
	if modules, err := kernelfs.SecurityModules(); err == nil && !slices.Contains(modules, "bpf") {
		return nil, fmt.Errorf("%w: %s", errUnlisted, strings.Join(modules, ","))
	}
	l, err := link.AttachLSM(link.LSMOptions{Program: c.Programs["socket_connect"]})
	if err != nil {
		return nil, err
	}
	return []io.Closer{l}, nil
}

// seed runs the iterator to its end. What it is good for is in a map then.
func seed(c *ebpf.Collection) ([]io.Closer, error) {
	iter, err := link.AttachIter(link.IterOptions{Program: c.Programs["seed"]})
	if err != nil {
		return nil, err
	}
	defer iter.Close()
	run, err := iter.Open()
	if err != nil {
		return nil, fmt.Errorf("opening the iterator: %w", err)
	}
	defer run.Close()
	if _, err := io.Copy(io.Discard, run); err != nil {
		return nil, fmt.Errorf("running the iterator: %w", err)
	}
	return nil, nil
}

// loadLookupMulti loads the programs for links which any sensor may make that has
// them; others are made by perf_event_open(2), which takes CAP_SYS_ADMIN. A kernel
// without such links, one before 6.6, would take the programs all the same, and needs a
// while to verify them.
func loadLookupMulti() (*ebpf.CollectionSpec, error) {
	if err := features.HaveBPFLinkUprobeMulti(); err != nil {
		return nil, err
	}
	spec, err := bpf.LoadLookup()
	if err != nil {
		return nil, err
	}
	for _, program := range spec.Programs {
		program.AttachType = ebpf.AttachTraceUprobeMulti
	}
	return spec, nil
}

// lookupsByMulti attaches nothing yet: to which files is not known before libcs are
// found.
func lookupsByMulti(*ebpf.Collection) ([]io.Closer, error) { return nil, nil }

func lookupsByPerf(*ebpf.Collection) ([]io.Closer, error) {
	if len(rights.Missing(FeatureLookup)) > 0 {
		return nil, unix.EPERM
	}
	return nil, nil
}

// keep takes of an attached candidate what is needed later.
func (p *Probe) keep(feature string, c *ebpf.Collection) (err error) {
	switch feature {
	case FeatureLookup:
		p.lookups, p.returnsAreSafe = c.Programs, sync.OnceValue(returnsAreSafe)
	case FeatureExec:
		p.generation, err = c.Maps["generation"].Memory()
	}
	return err
}
