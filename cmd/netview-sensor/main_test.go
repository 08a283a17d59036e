package main

import (
	"strings"
	"testing"
	"time"

	"github.com/netview-project/netview/event"
)

func TestReady(t *testing.T) {
	now := time.Now()
	taken := func(age time.Duration) event.State {
		return event.State{Snapshot: &event.Summary{Heartbeat: &event.Heartbeat{Envelope: event.Envelope{Timestamp: now.Add(-age)}}}}
	}
	for name, tt := range map[string]struct {
		state event.State
		says  string
	}{
		"before the first": {event.State{}, "no heartbeat"},
		"current":          {taken(20 * time.Second), ""},
		"late":             {taken(46 * time.Second), "46s old"},
	} {
		err := ready(tt.state, 15*time.Second, now)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
}
