// Package rights knows which capabilities of Linux the sensor needs, what for and
// for how long. What the sensor drops, what `netview-sensor check` and a feature's
// remedy say of rights, and docs/rights.md follow from its one table.
package rights

import "kernel.org/pub/linux/libs/security/libcap/cap"

// Right is a capability, and what the sensor needs it for.
type Right struct {
	// Name in capabilities(7).
	Name string `json:"name"`
	// For is what it permits.
	For string `json:"for"`
	// Features that are off without it where the host gives them no other way;
	// empty for one that few hosts need.
	Features []string `json:"features"`
	// Kept is why the sensor needs it for as long as it runs; empty for one that it
	// drops once everything is opened and attached.
	Kept string `json:"kept,omitempty"`
	// Instead is a capability that permits the same and more.
	Instead string `json:"instead,omitempty"`
	// Held says that the sensor had it when it started.
	Held bool `json:"held"`

	value cap.Value
}

// Features that rest on rights alone: nothing else tells whether a host has them.
const (
	// OtherProcesses: the processes of other users, and where they live.
	OtherProcesses = "other_processes"
	// MountedNamespaces: network namespaces in which no thread lives.
	MountedNamespaces = "mounted_namespaces"
)

const sysAdmin = "CAP_SYS_ADMIN"

// events are the features that come from the kernel by eBPF.
var events = []string{"flow", "listen", "accept", "io_uring_accept", "connect", "udp_connect", "connection_id", "lsm", "dns", "seed", "dns_lookup", "exec"}

// table of every capability that the sensor has a use for. A feature that begins
// to need one later, as probes in a libc that a container brings, gives that one a
// reason to be kept.
var table = []Right{
	{value: cap.SYS_PTRACE, Name: "CAP_SYS_PTRACE", Features: []string{OtherProcesses},
		For:  "the links in /proc/PID of other users' processes: to sockets, path and namespaces",
		Kept: "each heartbeat looks at all processes and the libcs in their memory, and a process whose socket begins or ends is looked up when it does"},
	{value: cap.DAC_READ_SEARCH, Name: "CAP_DAC_READ_SEARCH", Features: []string{OtherProcesses, "accept", "connect"},
		For:  "the directories /proc/PID/fd of other users' processes, the way to a mount in a closed directory, and for a sensor that is not root the files of tracefs",
		Kept: "each heartbeat looks at all processes, their libcs and mounts"},
	{value: cap.SYS_ADMIN, Name: sysAdmin, Features: []string{MountedNamespaces, "sock_diag", "accept", "connect", "connection_id", "dns", "dns_lookup"},
		For:  "entering other network namespaces, a view of tracefs and of cgroup2 where these are not mounted, and uprobes on kernels before 6.6",
		Kept: "each heartbeat enters the network namespaces that there are then, and probes the libcs that have come"},
	{value: cap.BPF, Name: "CAP_BPF", Features: events, Instead: sysAdmin,
		For: "programs and maps in the kernel"},
	{value: cap.PERFMON, Name: "CAP_PERFMON", Features: events, Instead: sysAdmin,
		For: "programs that read the kernel's memory, and tracepoints"},
	{value: cap.NET_ADMIN, Name: "CAP_NET_ADMIN", Features: []string{"connection_id", "dns"},
		For: "programs at the root of all cgroups, as those that see packets; from Linux 6.9 on CAP_SYS_ADMIN does too"},
	{value: cap.NET_BIND_SERVICE, Name: "CAP_NET_BIND_SERVICE",
		For: "a port below 1024 in --web.listen-address"},
	{value: cap.SYS_RESOURCE, Name: "CAP_SYS_RESOURCE",
		For: "memory for eBPF beyond RLIMIT_MEMLOCK, on kernels before 5.11"},
	{value: cap.SETPCAP, Name: "CAP_SETPCAP",
		For: "taking what is dropped out of the bounding set too"},
}

// Table lists every right, whether it is held or not.
func Table() []Right { return append([]Right(nil), table...) }

// Least are the names of the capabilities with which a host gives all that it can,
// and those with which it gives what it can to a sensor without CAP_SYS_ADMIN.
func Least() (all, withoutSysAdmin []string) {
	for _, r := range table {
		if len(r.Features) == 0 {
			continue
		}
		if r.Instead != sysAdmin {
			all = append(all, r.Name)
		}
		if r.Name != sysAdmin {
			withoutSysAdmin = append(withoutSysAdmin, r.Name)
		}
	}
	return all, withoutSysAdmin
}
