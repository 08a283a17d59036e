-- Each sensor's newest complete heartbeat at a time. After 90 s of silence a
-- sensor is stale, after 6 minutes left out.
CREATE OR REPLACE VIEW {{database}}.newest_heartbeats AS
SELECT
    sensor_id, host_name, session, heartbeat, timestamp,
    connections, tcp_listeners, udp_listeners, mode,
    timestamp < {at:DateTime64(3, 'UTC')} - INTERVAL 90 SECOND AS stale,
    flows, time_wait, namespaces,
    interval_secs, collect_secs, uptime_secs, losses, features,
    host_id, host_arch, os_version, sensor_version
FROM {{database}}.heartbeats_known(sensor_id = {sensor_id:String}, at = {at:DateTime64(3, 'UTC')}, known = '2299-12-31');
