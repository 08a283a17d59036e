package alerts

import (
	"reflect"
	"time"
)

// Settings are all that is adjusted, with the reason for each value. Ratios are
// between 0 and 1.
type Settings struct {
	// SensorJob and CollectorJob are the jobs of the scrape configuration.
	SensorJob, CollectorJob string
	// Dashboards is where Grafana is, and Runbook the address of runbook.md.
	Dashboards, Runbook string

	// Interval between two evaluations: two heartbeats.
	Interval time.Duration
	// Window of rates: 20 scrapes, so that one that failed changes little.
	Window time.Duration
	// Remember is how long what was once there is missed: a day, after which what
	// has been taken away on purpose is forgotten.
	Remember time.Duration
	// Steady is for what restarts and deployments cause and mend by themselves.
	Steady time.Duration
	// Lasting is for what is only worth a look where it stays.
	Lasting time.Duration
	// Calm keeps what flaps from ringing again and again.
	Calm time.Duration

	// A heartbeat comes each 15 s. The views call a sensor stale after 90 s, and
	// leave it out after 6 minutes. With a longer interval these are 3, 6 and 24 of
	// it.
	HeartbeatLate, HeartbeatStale, HeartbeatOffline time.Duration
	// ScrapeFails is a few scrapes: one that fails is no news.
	ScrapeFails time.Duration
	// ClockSkew (s): beyond it times of two hosts are not worth comparing. A scrape
	// takes milliseconds.
	ClockSkew float64
	// VersionSkew is longer than a rollout takes.
	VersionSkew time.Duration

	// SpoolTimeLeft is the time to mend a collector before events are lost.
	SpoolTimeLeft time.Duration
	// SpoolNoise is the part of the spool below which its trend says nothing.
	SpoolNoise, SpoolNearlyFull float64
	// DeliveryBehind is many times what a commit takes.
	DeliveryBehind time.Duration

	// ReceiverFailing is the part of requests that get no commit. Sensors retry, and
	// a ClickHouse that restarts is no incident.
	ReceiverFailing float64
	// CommitSlow (s) at the 95th percentile: a commit takes some ten ms, under full
	// load one second.
	CommitSlow float64

	// History is what a sensor's own is, Settling how far it stays behind: so a step
	// does not hide itself.
	History, Settling time.Duration
	// OwnScore is in standard deviations, FleetScore in those of the modified
	// z-score (Iglewicz and Hoaglin call 3.5 an outlier).
	OwnScore, FleetScore float64
	// FleetLeast is the number of sensors from which a median means something.
	FleetLeast int
	// StandsOutLeast is the number of connections below which nobody minds.
	StandsOutLeast float64

	// Attempts and ends in Window below which a ratio says nothing.
	ConnectsLeast, EndsLeast float64
	// A closed port answers at once: a client with a wrong address, or a service that
	// is down. What times out holds up its caller, so less of it is too much.
	Refused, TimedOut, Reset float64
	// HalfClosed flows are those with one side closed for a minute: a program that
	// forgets to close. Both bounds must be passed.
	HalfClosed      float64
	HalfClosedLeast float64
	// StaleFlows in Lasting whose end was missed.
	StaleFlows float64

	// EphemeralPorts and Conntrack are parts in use; the rest goes in one burst.
	EphemeralPorts, Conntrack float64
	// ListenLost connections in Window.
	ListenLost float64

	// DNSLeast is the number of queries in Window below which a ratio says nothing.
	DNSLeast float64
	// DNSFailing is the part with one rcode that is neither NOERROR nor NXDOMAIN,
	// DNSUnanswered that without an answer after 5.5 s.
	DNSFailing, DNSUnanswered float64
	// DNSSlow (s) at the 95th percentile: a resolver that has to ask far away takes
	// some 100 ms.
	DNSSlow float64
	// NXDomainRate (1/s), and how many times the sensor's own history it is.
	NXDomainRate, NXDomainTimes float64
}

// Defaults are what the committed rules are made with.
func Defaults() Settings {
	return Settings{
		SensorJob: "netview", CollectorJob: "netview-collector",
		Dashboards: "http://localhost:3000", Runbook: "https://github.com/netview-project/netview/blob/main/alerts/runbook.md",

		Interval: 30 * time.Second, Window: 5 * time.Minute, Remember: 24 * time.Hour,
		Steady: 2 * time.Minute, Lasting: 15 * time.Minute, Calm: 10 * time.Minute,

		HeartbeatLate: 45 * time.Second, HeartbeatStale: 90 * time.Second, HeartbeatOffline: 6 * time.Minute,
		ScrapeFails: 2 * time.Minute, ClockSkew: 5, VersionSkew: 24 * time.Hour,

		SpoolTimeLeft: 4 * time.Hour, SpoolNoise: .05, SpoolNearlyFull: .9, DeliveryBehind: 5 * time.Minute,

		ReceiverFailing: .05, CommitSlow: 2.5,

		History: time.Hour, Settling: 15 * time.Minute, OwnScore: 3, FleetScore: 3.5, FleetLeast: 5, StandsOutLeast: 50,

		ConnectsLeast: 50, EndsLeast: 50, Refused: .25, TimedOut: .1, Reset: .3,
		HalfClosed: .2, HalfClosedLeast: 100, StaleFlows: 100,

		EphemeralPorts: .8, Conntrack: .9, ListenLost: 10,

		DNSLeast: 50, DNSFailing: .05, DNSUnanswered: .05, DNSSlow: .5, NXDomainRate: 5, NXDomainTimes: 5,
	}
}

// Faster returns settings with every time divided: for a trial that cannot wait.
func (s Settings) Faster(times int64) Settings {
	fields := reflect.ValueOf(&s).Elem()
	for i := range fields.NumField() {
		if d, is := fields.Field(i).Addr().Interface().(*time.Duration); is {
			*d /= time.Duration(times)
		}
	}
	return s
}
