package quickstart

import (
	"strconv"
	"time"
)

// The fleet of a demonstration: with this seed, so many sensors have every role.
const (
	demoSeed        = 50
	demoSensors     = 24
	demoConnections = 40
	// demoHistory is how many heartbeats are there at once: an hour by default, with
	// each story in it.
	demoHistory = 240
	// demoSession is how many heartbeats a session has at most when a demonstration
	// starts. One that is started again goes on with the same session until then.
	demoSession = 1440
)

// demoArguments are those of `netview generate`.
func demoArguments(o *Options, now time.Time) []string {
	first := now.Add(-demoHistory * o.Interval)
	start := first.Truncate(demoSession * o.Interval)
	return []string{"generate", "--stories", "--real-time", "--endpoint", "grpc://" + o.GRPC, "--metrics-address", o.DemoMetrics, "--interval", o.Interval.String(),
		"--seed", strconv.Itoa(demoSeed), "--sensors", strconv.Itoa(demoSensors), "--connections", strconv.Itoa(demoConnections), "--in-flight", "200",
		"--start", start.UTC().Format(time.RFC3339), "--from", strconv.Itoa(1 + int(first.Sub(start)/o.Interval))}
}
