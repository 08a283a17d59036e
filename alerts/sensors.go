package alerts

import "time"

// Records that more than one group uses, and that dashboards may.
const (
	lastSeen         = "instance:netview_sensor:last_seen_timestamp_seconds"
	lastAcknowledged = "sensor_id:netview_heartbeat_acknowledged:last_timestamp_seconds"
	lastInterval     = "sensor_id:netview_heartbeat_interval:last_seconds"
	heartbeatAge     = "sensor_id:netview_heartbeat:age_seconds"
	lastOn           = "sensor_id_feature:netview_feature_enabled:last_on_timestamp_seconds"
)

// sensors watch the watchers.
func sensors(s *Settings) Group {
	age := func(factor int, least time.Duration) string {
		return expr("{age} > on (sensor_id) clamp_min({factor} * {interval}, {least})", "age", heartbeatAge, "factor", factor, "interval", lastInterval, "least", least.Seconds())
	}
	down := expr(`up{job="{job}"} == 0`, "job", s.SensorJob)
	return Group{"netview-sensors", []Rule{
		remember(s, lastSeen, "max by (job, instance, sensor_id) (timestamp(netview_sensor_info))"),
		remember(s, lastAcknowledged, "max by (sensor_id) (netview_heartbeat_acknowledged_timestamp_seconds)"),
		Record{lastInterval, "max by (sensor_id) (netview_heartbeat_interval_seconds)\nor\n" + lastInterval + " and on (sensor_id) " + lastAcknowledged},
		Record{heartbeatAge, "time() - " + lastAcknowledged},
		// The sensor's name comes from the last scrape that worked; a target of which
		// none did has only its instance.
		Alert{Name: "NetviewSensorDown", Severity: Warning, For: s.ScrapeFails, Dashboard: Health,
			Expr:        "(" + down + ")\n  + on (job, instance) group_left (sensor_id)\n0 * topk by (job, instance) (1, " + lastSeen + ")\nor on (job, instance)\n" + down,
			Summary:     "The sensor at {{ $labels.instance }} cannot be scraped",
			Description: "Prometheus gets no metrics from {{ $labels.instance }} {{ $labels.sensor_id }}: the sensor, its host or the way to it is down."},
		Alert{Name: "NetviewSensorGone", Severity: Warning, For: s.HeartbeatOffline, Dashboard: Health,
			Expr:        "max by (sensor_id) (" + lastSeen + ")\nunless on (sensor_id) netview_sensor_info\nunless on (sensor_id) (" + lastSeen + expr(` and on (job, instance) up{job="{job}"})`, "job", s.SensorJob),
			Summary:     "Sensor {{ $labels.sensor_id }} is no target any more",
			Description: "It was scraped last at {{ $value | humanizeTimestamp }}; no target of Prometheus has taken its place. It is forgotten after " + duration(s.Remember) + "."},
		Alert{Name: "NetviewHeartbeatLate", Severity: Info, Keep: s.Steady, Dashboard: Health,
			Expr:        age(3, s.HeartbeatLate),
			Summary:     "Heartbeats of {{ $labels.sensor_id }} are late",
			Description: "The newest heartbeat that the collector acknowledged is {{ $value | humanizeDuration }} old."},
		Alert{Name: "NetviewHeartbeatStale", Severity: Warning, Keep: s.Steady, Dashboard: Health,
			Expr:        age(6, s.HeartbeatStale),
			Summary:     "{{ $labels.sensor_id }} is stale",
			Description: "The newest heartbeat that the collector acknowledged is {{ $value | humanizeDuration }} old: the views mark the rows of this sensor as stale."},
		Alert{Name: "NetviewHeartbeatOffline", Severity: Critical, Keep: s.Steady, Dashboard: Health,
			Expr:        age(24, s.HeartbeatOffline),
			Summary:     "{{ $labels.sensor_id }} is offline",
			Description: "The newest heartbeat that the collector acknowledged is {{ $value | humanizeDuration }} old: the views leave this sensor out."},
		Alert{Name: "NetviewHeartbeatNotTaken", Severity: Warning, For: s.Steady, Dashboard: Health,
			Expr:        "max by (sensor_id) (netview_time_seconds - netview_heartbeat_taken_timestamp_seconds)\n  > on (sensor_id) " + expr("clamp_min(3 * {interval}, {least})", "interval", lastInterval, "least", s.HeartbeatLate.Seconds()),
			Summary:     "{{ $labels.sensor_id }} runs and takes no heartbeats",
			Description: "By its own clock its newest heartbeat is {{ $value | humanizeDuration }} old: it cannot read the socket tables, or hangs."},
		Alert{Name: "NetviewNeverAcknowledged", Severity: Warning, For: s.Window, Dashboard: Health,
			Expr:        "max by (sensor_id) (netview_spool_records{lane=\"snapshots\"})\nunless on (sensor_id) netview_heartbeat_acknowledged_timestamp_seconds",
			Summary:     "No heartbeat of {{ $labels.sensor_id }} has arrived",
			Description: "Since its start the collector has acknowledged nothing; {{ $value | humanize }} records of snapshots wait."},
		Alert{Name: "NetviewCollectionFailing", Severity: Warning, For: s.Steady, Keep: s.Calm, Dashboard: Health,
			Expr:        "min by (sensor_id, collection) (netview_heartbeat_collection_success) == 0",
			Summary:     "{{ $labels.sensor_id }} cannot read its {{ $labels.collection }}",
			Description: "Its heartbeats lack {{ $labels.collection }}: reading it failed at each of the last ones."},
		remember(s, lastOn, "max by (sensor_id, feature) (timestamp(netview_feature_enabled == 1))"),
		// That of the spool is NetviewSpoolInMemory.
		Alert{Name: "NetviewFeatureOff", Severity: Warning, For: s.Steady, Dashboard: Health,
			Expr:        "netview_feature_enabled{feature!=\"spool\"} == 0\nand on (sensor_id, feature) " + lastOn,
			Summary:     "{{ $labels.feature }} of {{ $labels.sensor_id }} is off",
			Description: "It was on within " + duration(s.Remember) + ". {{ $labels.reason }}"},
		Alert{Name: "NetviewClockSkew", Severity: Warning, For: s.Steady, Keep: s.Calm, Dashboard: Health,
			Expr:        expr("max by (sensor_id) (abs(netview_time_seconds - timestamp(netview_time_seconds))) > {most}", "most", s.ClockSkew),
			Summary:     "The clock of {{ $labels.sensor_id }} is off",
			Description: "It differs by {{ $value | humanizeDuration }} from that of Prometheus. What it tells lies at wrong times, and beyond the collector's bound in quarantine."},
		Alert{Name: "NetviewIdentityShared", Severity: Critical, For: s.Window, Dashboard: Health,
			Expr:        "max by (sensor_id) (process_start_time_seconds{sensor_id!=\"\"})\n- min by (sensor_id) (process_start_time_seconds{sensor_id!=\"\"})\n> 1",
			Summary:     "Several sensors are called {{ $labels.sensor_id }}",
			Description: "Processes that started {{ $value | humanizeDuration }} apart have this sensor_id: their hosts are mixed up in every view. Most often a machine was cloned."},
		Alert{Name: "NetviewVersionSkew", Severity: Info, For: s.VersionSkew, Dashboard: Health,
			Expr:        "count(count by (version) (netview_sensor_info)) > 1",
			Summary:     "Sensors of {{ $value | humanize }} versions run",
			Description: "A rollout did not reach every host: {{ $value | humanize }} versions have run beside each other for " + duration(s.VersionSkew) + "."},
	}}
}
