// Package sensor watches the sockets of a host: it takes a snapshot at each
// heartbeat, sends it to a collector, and shows it to Prometheus.
package sensor

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/deliver"
	"github.com/netview-project/netview/sensor/probe"
)

// Config of a sensor.
type Config struct {
	// SensorID names the sensor; empty means the host's name.
	SensorID string
	// Endpoint of the collector: grpc://HOST:4317 or http://HOST:4318, grpcs or
	// https over TLS; empty sends nothing, and the sensor is an exporter only.
	Endpoint string
	// Security of the way to the collector.
	Security deliver.Security
	// Interval between two heartbeats, 1 s to 5 min.
	Interval time.Duration
	// Proc is the root of procfs.
	Proc string
	// EBPF asks the kernel for events; without it the socket tables are all.
	EBPF bool
	// Lookups asks for calls of getaddrinfo too, by probes in the libcs of all
	// processes: docs/lookups.md.
	Lookups bool
	// DropCapabilities gives up what is not needed any more once all is opened and
	// attached, for the whole process and for good: package rights.
	DropCapabilities bool
	// CommandLine stores command lines, with what Scrub matches replaced.
	CommandLine bool
	// Scrub is a regular expression; empty replaces nothing.
	Scrub string
	// Spool keeps what is sent until it is acknowledged. Its client, resource and
	// log are the sensor's.
	Spool deliver.Options
	// Version of the sensor.
	Version string
}

// Check names every setting that is wrong.
func (c *Config) Check() error {
	var errs []error
	if c.SensorID != "" {
		errs = append(errs, event.CheckSensorID(c.SensorID))
	}
	if c.Interval < time.Second || c.Interval > 5*time.Minute {
		errs = append(errs, fmt.Errorf("heartbeat interval %v is out of range: 1s to 5m", c.Interval))
	}
	if c.Endpoint != "" {
		errs = append(errs, c.Spool.Check())
	}
	if _, err := regexp.Compile(c.Scrub); err != nil {
		errs = append(errs, fmt.Errorf("scrub rule: %w", err))
	}
	return errors.Join(errs...)
}

// leftOut are features of the kernel that are not wanted.
func (c *Config) leftOut() []string {
	if c.Lookups {
		return nil
	}
	return []string{probe.FeatureLookup, probe.FeatureExec}
}

// scrubbed stands where the scrub rule matched.
const scrubbed = "***"

func (c *Config) scrub() func(string) string {
	if c.Scrub == "" {
		return nil
	}
	rule := regexp.MustCompile(c.Scrub)
	return func(line string) string { return rule.ReplaceAllString(line, scrubbed) }
}

// identify describes the host and gives the sensor a session of its own.
func identify(c *Config) (event.Resource, error) {
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return event.Resource{}, fmt.Errorf("asking the kernel for the host's name: %w", err)
	}
	r := event.Resource{SensorID: c.SensorID, Session: uuid.New(), Version: c.Version, Arch: runtime.GOARCH,
		HostName: unix.ByteSliceToString(uname.Nodename[:]), KernelRelease: unix.ByteSliceToString(uname.Release[:])}
	if id, err := os.ReadFile("/etc/machine-id"); err == nil {
		r.HostID = strings.TrimSpace(string(id))
	}
	if r.SensorID == "" {
		r.SensorID = strings.ToLower(r.HostName)
		if err := event.CheckSensorID(r.SensorID); err != nil {
			return r, fmt.Errorf("the host's name cannot be the sensor_id: %w (choose one with --sensor-id)", err)
		}
	}
	return r, nil
}
