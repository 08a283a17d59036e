package sensor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/deliver"
	"github.com/netview-project/netview/sensor/libc"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/rights"
	"github.com/netview-project/netview/sensor/socket"
)

// Report says what a host gives to a sensor, and how to get the rest.
type Report struct {
	SensorID      string         `json:"sensor_id"`
	HostName      string         `json:"host_name"`
	KernelRelease string         `json:"kernel_release"`
	Arch          string         `json:"arch"`
	Features      []Feature      `json:"features"`
	Rights        []rights.Right `json:"rights"`
	// Libraries are the libcs that processes have in memory, where lookups are on.
	Libraries []Library `json:"libraries,omitempty"`
	// Found by one reading of the host.
	Connections  uint64 `json:"connections"`
	TCPListeners uint64 `json:"tcp_listeners"`
	UDPListeners uint64 `json:"udp_listeners"`
	Namespaces   uint64 `json:"network_namespaces"`
	// Owned are those of Connections and listeners whose process is known.
	Owned uint64 `json:"owned"`
	// Losses of that reading.
	Losses []Loss `json:"losses"`
	// Collector is nil where none is configured.
	Collector *Answer `json:"collector,omitempty"`
}

// Library is a file of a libc.
type Library struct {
	// Path by which the process has it in which it was found first.
	Path      string `json:"path"`
	Processes int    `json:"processes"`
	// Off is why no lookups are told of it; empty where they are.
	Off string `json:"off,omitempty"`
}

// Loss is how much was lost to a cause.
type Loss struct {
	Cause string `json:"cause"`
	Count uint64 `json:"count"`
	Lost  string `json:"lost"`
	// First is an example, where one is known.
	First  string `json:"first,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Answer of a collector to an empty request.
type Answer struct {
	Endpoint string `json:"endpoint"`
	Error    string `json:"error,omitempty"`
}

// collectorPatience bounds the wait for a collector in [Check].
const collectorPatience = 5 * time.Second

// Check reads the host once, with the procfs, the name and the endpoint of a
// configuration, and sends nothing of it. With an endpoint it asks the collector
// for an answer. Its error is one of the configuration.
func Check(ctx context.Context, config Config) (Report, error) {
	config.Interval, config.Spool = time.Second, deliver.DefaultOptions() // which take no part in it
	s, err := New(config, slog.New(slog.DiscardHandler))
	if err != nil {
		return Report{}, err
	}
	if s.client != nil {
		defer s.client.Close()
	}
	r := Report{SensorID: s.resource.SensorID, HostName: s.resource.HostName, KernelRelease: s.resource.KernelRelease, Arch: s.resource.Arch,
		Rights: rights.Held(), Losses: []Loss{}}
	found, _ := s.snapshots.take() // its error is that of a feature
	r.Features = features(found.collections, s.snapshots.table.NoDiag)
	r.probe(&s.config, s.log)
	if found.snapshot != nil {
		r.count(found.snapshot)
	}
	losses, first := s.snapshots.losses(), s.snapshots.sockets.Stats().First
	for _, cause := range LossCauses() {
		if n := losses[cause.Name]; n > 0 {
			r.Losses = append(r.Losses, Loss{cause.Name, n, cause.Lost, first[socket.Cause(cause.Name)], cause.remedy()})
		}
	}
	if s.client != nil {
		r.Collector = &Answer{Endpoint: s.config.Endpoint}
		ctx, cancel := context.WithTimeout(ctx, collectorPatience)
		defer cancel()
		if err := deliver.Ask(ctx, s.client); err != nil {
			r.Collector.Error = err.Error()
		}
	}
	return r, nil
}

// probe brings the programs into the kernel, and out again.
func (r *Report) probe(c *Config, log *slog.Logger) {
	var p *probe.Probe
	if c.EBPF {
		p = probe.Open(log, c.leftOut()...)
		if p.On(probe.FeatureLookup) {
			libcs := libc.New(c.Proc, p, log)
			libcs.Look()
			for _, l := range libcs.State().Libraries {
				found := Library{Path: l.Path, Processes: l.Processes}
				if l.Err != nil {
					found.Off = l.Err.Error()
				}
				r.Libraries = append(r.Libraries, found)
			}
		}
		_ = p.Close() // what it could not take out goes with the process
	}
	r.Features = append(r.Features, probeFeatures(p)...)
}

// Missing says which of the required features are off, and which do not exist.
func (r *Report) Missing(required []string) error {
	off, names := map[string]string{}, []string{}
	for _, f := range r.Features {
		off[f.Name], names = f.Off, append(names, f.Name)
	}
	var errs []error
	for _, name := range required {
		if reason, exists := off[name]; !exists {
			errs = append(errs, fmt.Errorf("there is no feature %s: there are %s", name, strings.Join(names, ", ")))
		} else if reason != "" {
			errs = append(errs, fmt.Errorf("the feature %s is off: %s", name, reason))
		}
	}
	return errors.Join(errs...)
}

func (r *Report) count(snapshot *event.Snapshot) {
	h := snapshot.Heartbeat
	r.Connections, r.TCPListeners, r.UDPListeners, r.Namespaces = h.Connections, h.TCPListeners, h.UDPListeners, h.Namespaces
	for _, c := range snapshot.Connections {
		r.own(&c.Process)
	}
	for _, l := range snapshot.Listeners {
		r.own(&l.Process)
	}
}

func (r *Report) own(p *event.Process) {
	if p.PID.Known {
		r.Owned++
	}
}
