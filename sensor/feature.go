package sensor

import (
	"cmp"
	"errors"
	"io/fs"
	"strings"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/process/procdir"
	"github.com/netview-project/netview/sensor/rights"
)

// Feature is something that a sensor gives where the host lets it.
type Feature struct {
	// Name in metrics and in the heartbeat.
	Name string `json:"name"`
	// Hook of the kernel that it rests on, where it is one of eBPF; the last that
	// was tried, where it does not work.
	Hook string `json:"hook,omitempty"`
	// Gives is what it is for.
	Gives string `json:"gives"`
	// Off is why it does not work; empty where it does.
	Off string `json:"off,omitempty"`
	// Remedy is what makes it work.
	Remedy string `json:"remedy,omitempty"`
}

// Names of what a heartbeat reads, and of the faster way to a part of it.
const (
	collectSockets   = "socket_tables"
	collectProcesses = "processes"
	sockDiag         = "sock_diag"
)

// rightFeatures are what a sensor with all rights has everywhere.
func rightFeatures() []Feature {
	list := []Feature{
		{Name: rights.OtherProcesses, Gives: "the processes of other users, and the network namespaces that only they live in"},
		{Name: rights.MountedNamespaces, Gives: "sockets in network namespaces that only a mount holds, as those of ip netns"},
	}
	for i := range list {
		if missing := rights.Missing(list[i].Name); len(missing) > 0 {
			list[i].Off, list[i].Remedy = "the sensor was started without "+strings.Join(missing, ", "), rights.Remedy(list[i].Name)
		}
	}
	return list
}

// features says what works, after a heartbeat has tried it. noDiag is why TCP
// sockets came from /proc instead of sock_diag.
func features(collections []event.Collection, noDiag error) []Feature {
	const remedy = "give the root of a procfs with --path.procfs, and the right to read it"
	list := []Feature{
		{Name: collectSockets, Gives: "TCP connections, TCP and UDP listeners", Remedy: remedy},
		{Name: collectProcesses, Gives: "the process of each socket: pid, path, user, container", Remedy: remedy},
		{Name: sockDiag, Gives: "TCP sockets many times faster than from /proc/net/tcp",
			Remedy: "give the sensor the procfs of the running kernel, and the kernel its modules inet_diag and tcp_diag"},
	}
	if procdir.Denied(noDiag) {
		list[2].Remedy = cmp.Or(rights.Remedy(sockDiag), "run the sensor in the host's user namespace: elsewhere its capabilities do not hold for the host")
	}
	off := map[string]error{}
	for _, c := range collections {
		off[c.Name] = c.Err
	}
	off[sockDiag] = cmp.Or(noDiag, off[collectSockets])
	for i := range list {
		if err := off[list[i].Name]; err != nil {
			list[i].Off = err.Error()
		}
		if list[i].Off == "" {
			list[i].Remedy = ""
		}
	}
	return append(list, rightFeatures()...)
}

// spoolFeature says whether what is sent is kept on disk.
func spoolFeature(disk error) Feature {
	f := Feature{Name: "spool", Gives: "records that outlive the sensor and the host"}
	if disk != nil {
		f.Off, f.Remedy = disk.Error(), "give it a directory on a disk with room (--spool.directory)"
		if errors.Is(disk, fs.ErrPermission) {
			f.Remedy = "give it a directory that belongs to the sensor's user (--spool.directory)"
		}
	}
	return f
}

// probeFeatures are those that come from the kernel by eBPF.
func probeFeatures(p *probe.Probe) (list []Feature) {
	gives := map[string]string{
		probe.FeatureFlow:         "TCP flows with their bytes and how they end, attempts to connect and their results",
		probe.FeatureListen:       "sockets that begin to listen",
		probe.FeatureAccept:       "connections that a process accepts, and their owner",
		probe.FeatureUring:        "the same, of connections accepted by io_uring",
		probe.FeatureConnect:      "attempts to connect that fail on the host itself, as without a route",
		probe.FeatureUDPConnect:   "connected UDP sockets, at their first datagram",
		probe.FeatureConnectionID: "what ties the events of a connection together (connection_id)",
		probe.FeatureLSM:          "connects as the kernel's security hooks see them (lsm_net_connect)",
		probe.FeatureDNS:          "what processes ask of DNS servers, and the answers",
		probe.FeatureSeed:         "the process of connections that are older than the sensor, from their first moment on",
		probe.FeatureLookup:       "calls of getaddrinfo, with what it returned, in the libcs that processes use (dns_lookup)",
		probe.FeatureExec:         "libcs of new containers and chroots at once; without it at the next heartbeat",
	}
	for _, f := range p.Features() {
		feature := Feature{Name: f.Name, Hook: f.Hook, Gives: gives[f.Name]}
		if f.Err != nil {
			feature.Off, feature.Remedy = strings.ReplaceAll(f.Err.Error(), "\n", "; "), f.Remedy
		}
		list = append(list, feature)
	}
	return list
}

// featureStates are the features as the heartbeat carries them.
func featureStates(list []Feature) map[string]string {
	states := map[string]string{}
	for _, f := range list {
		states[f.Name] = event.FeatureOn
		if f.Hook != "" {
			states[f.Name] += ": " + f.Hook
		}
		if f.Off != "" {
			states[f.Name] = event.FeatureOff + f.Off
			if f.Remedy != "" {
				states[f.Name] += " (remedy: " + f.Remedy + ")"
			}
		}
	}
	return states
}
