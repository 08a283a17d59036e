-- Each sensor's newest complete heartbeat at a time, of those that had arrived
-- at another. Every view of snapshots rests on it.
CREATE OR REPLACE VIEW {{database}}.heartbeats_known AS
SELECT
    sensor_id, host_name, session, heartbeat, sequence, timestamp,
    connections, tcp_listeners, udp_listeners, flows, time_wait, namespaces,
    mode, interval_secs, collect_secs, uptime_secs, losses, features,
    host_id, host_arch, os_version, sensor_version
FROM {{database}}.heartbeats
WHERE timestamp <= {at:DateTime64(3, 'UTC')}
    AND timestamp > {at:DateTime64(3, 'UTC')} - INTERVAL 6 MINUTE
    AND received <= {known:DateTime64(3, 'UTC')}
    AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
ORDER BY sensor_id, timestamp DESC, session DESC, sequence DESC
LIMIT 1 BY sensor_id;
