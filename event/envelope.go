package event

import (
	"fmt"
	"regexp"
	"time"

	"github.com/google/uuid"
)

// Resource identifies the host and the sensor that a record comes from. It is
// the OTLP resource of every request of the sensor.
type Resource struct {
	// SensorID names the sensor; see [CheckSensorID].
	SensorID string
	// Session is new at each start of the sensor (service.instance.id).
	Session uuid.UUID
	// Version of the sensor (service.version).
	Version string
	// HostName as the kernel gives it (uname nodename).
	HostName string
	// HostID is the machine id, empty when the host has none.
	HostID string
	// Arch is host.arch in the words of the conventions: amd64, arm64, ….
	Arch string
	// KernelRelease is os.version: on Linux the kernel's release.
	KernelRelease string
}

// Envelope is what every record carries beside the fields of its kind.
type Envelope struct {
	Resource
	// Sequence counts the records of a session from 1. With the session it is
	// the record's identity; a gap means a loss after the number was given.
	Sequence uint64
	// Timestamp is when it happened; for the rows of a snapshot and their
	// heartbeat, when the snapshot was taken. Microseconds are kept.
	Timestamp time.Time
	// Attributes holds what the record carried and this version does not know,
	// as text. A newer sensor loses nothing at an older receiver.
	Attributes map[string]string
}

// Env returns the envelope itself, so that every struct that embeds it is an [Event].
func (e *Envelope) Env() *Envelope { return e }

// Event is a record of any kind: *[Connection], *[NetworkFlow], ….
type Event interface {
	Kind() Kind
	Env() *Envelope
}

var sensorID = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)

// CheckSensorID returns an error unless id matches [a-z0-9._-]{1,64}.
func CheckSensorID(id string) error {
	if !sensorID.MatchString(id) {
		return fmt.Errorf("sensor_id %.80q is not valid: use 1 to 64 of the characters a-z 0-9 . _ -", id)
	}
	return nil
}

// Optional is a value that the host may not be able to give. The zero value is
// "not known", which travels as an absent attribute and is stored as NULL.
type Optional[T any] struct {
	Value T
	Known bool
}

// Some returns a known value.
func Some[T any](v T) Optional[T] { return Optional[T]{Value: v, Known: true} }

// Process names the process that a record belongs to. Its zero value stands
// for a socket without one: owned by the kernel, or by a process that ended
// before it could be looked up.
type Process struct {
	PID Optional[uint32]
	// Binary is the full path of the executable.
	Binary string
	// Name is the kernel's comm, at most 15 bytes.
	Name string
	// User is the host's name for the socket's uid, or the number where it has none.
	User string
	// ContainerID from the cgroup; empty outside containers.
	ContainerID string
	// CommandLine only where the operator asked for it.
	CommandLine string
}
