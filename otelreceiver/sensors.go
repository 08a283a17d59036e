package otelreceiver

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/otelreceiver/internal/metadata"
)

// How long a sensor is remembered that is silent, and how long a session of it
// counts as alive: as the view shared_identities has it.
const (
	sensorForgotten = 10 * time.Minute
	sessionAlive    = 90 * time.Second
	sweepInterval   = 10 * time.Second
)

// sensors are those that send: no more than so many, and each as one.
type sensors struct {
	most      int
	telemetry *metadata.Telemetry
	log       *zap.Logger

	mutex sync.Mutex
	heard map[string]*heard
	swept time.Time
}

// heard is what is remembered of a sensor.
type heard struct {
	at       time.Time
	sessions []session
	shared   bool // it is counted as such
}

// session of a sensor, as its heartbeats tell.
type session struct {
	id          uuid.UUID
	host        string
	began, last time.Time // by the sensor's clock
	at          time.Time // by this one
}

func newSensors(most int, telemetry *metadata.Telemetry, log *zap.Logger) *sensors {
	return &sensors{most: most, telemetry: telemetry, log: log, heard: map[string]*heard{}}
}

// take remembers the sensors of a request. Its error, a gRPC status, says that
// there are too many.
func (s *sensors) take(ctx context.Context, r *request, now time.Time) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if now.Sub(s.swept) >= sweepInterval {
		s.sweep(ctx, now)
	}
	for _, q := range r.quarantined {
		if s.hear(q.SensorID, now) == nil {
			return s.tooMany(q.SensorID)
		}
	}
	var sensor *heard
	last := ""
	for _, e := range r.events {
		if id := e.Env().SensorID; sensor == nil || id != last {
			if sensor, last = s.hear(id, now), id; sensor == nil {
				return s.tooMany(id)
			}
		}
		if h, ok := e.(*event.Heartbeat); ok {
			s.beat(ctx, sensor, h, now)
		}
	}
	return nil
}

// hear returns what is known of a sensor; nil where there is no room for it.
func (s *sensors) hear(id string, now time.Time) *heard {
	sensor := s.heard[id]
	if sensor == nil {
		if len(s.heard) >= s.most {
			return nil
		}
		sensor = &heard{}
		s.heard[id] = sensor
	}
	sensor.at = now
	return sensor
}

func (s *sensors) tooMany(id string) error {
	return retryLater(status.Newf(codes.ResourceExhausted, "%d sensors send to this collector, which is all that it takes (max_sensors), and %s is not among them: raise it, or send to another collector", s.most, id)).Err()
}

// beat looks whether a session lives at the same time as another. After a restart
// the old one has ended before the new one began, whatever order their heartbeats
// come in.
func (s *sensors) beat(ctx context.Context, sensor *heard, h *event.Heartbeat, now time.Time) {
	i := slices.IndexFunc(sensor.sessions, func(other session) bool { return other.id == h.Session })
	if i < 0 {
		if len(sensor.sessions) == mostSessions {
			sensor.sessions = sensor.sessions[1:]
		}
		sensor.sessions, i = append(sensor.sessions, session{id: h.Session, host: h.HostName, began: h.Timestamp.Add(-h.Uptime), last: h.Timestamp}), len(sensor.sessions)
	}
	this := &sensor.sessions[i]
	this.at = now
	if h.Timestamp.After(this.last) {
		this.last = h.Timestamp
	}
	if other := sensor.other(this, now); other != nil && !sensor.shared {
		sensor.shared = true
		s.telemetry.Shared.Add(ctx, 1)
		s.log.Warn("Two sensors that run at the same time have one sensor_id: give one of them another (a cloned machine?)",
			zap.String("sensor_id", h.SensorID), zap.String("host", this.host), zap.String("session", this.id.String()),
			zap.String("other_host", other.host), zap.String("other_session", other.id.String()))
	}
}

// mostSessions of a sensor are remembered: one that is started again and again
// has many.
const mostSessions = 8

// other is a session that lives beside one; nil where there is none.
func (sensor *heard) other(this *session, now time.Time) *session {
	for i := range sensor.sessions {
		other := &sensor.sessions[i]
		if other.id != this.id && now.Sub(other.at) < sessionAlive && other.last.After(this.began) && this.last.After(other.began) {
			return other
		}
	}
	return nil
}

// sweep forgets who is silent.
func (s *sensors) sweep(ctx context.Context, now time.Time) {
	s.swept = now
	for id, sensor := range s.heard {
		sensor.sessions = slices.DeleteFunc(sensor.sessions, func(s session) bool { return now.Sub(s.at) >= sensorForgotten })
		if sensor.shared && !slices.ContainsFunc(sensor.sessions, func(s session) bool { return now.Sub(s.at) < sessionAlive && sensor.other(&s, now) != nil }) {
			sensor.shared = false
			s.telemetry.Shared.Add(ctx, -1)
		}
		if now.Sub(sensor.at) >= sensorForgotten {
			delete(s.heard, id)
		}
	}
}
