-- Sensors of which two run at the same time under one name, as on a cloned
-- machine: one row for each session that lived in the 90 s before a time while
-- another of its name did. After a restart the old session has ended before the
-- new one began, and there is no row.
CREATE OR REPLACE VIEW {{database}}.shared_identities AS
WITH
    sessions AS
    (
        SELECT
            sensor_id, session,
            any(host_name) AS host_name, any(host_id) AS host_id,
            min(timestamp - toIntervalMillisecond(toInt64(uptime_secs * 1000))) AS began,
            max(timestamp) AS last
        FROM {{database}}.heartbeats
        WHERE timestamp <= {at:DateTime64(3, 'UTC')} AND timestamp > {at:DateTime64(3, 'UTC')} - INTERVAL 90 SECOND
        GROUP BY sensor_id, session
    ),
    shared AS
    (
        SELECT DISTINCT sensor_id, a.session AS session
        FROM sessions AS a
        INNER JOIN sessions AS b USING (sensor_id)
        WHERE a.session != b.session AND a.last > b.began AND b.last > a.began
    )
SELECT sensor_id, session, host_name, host_id, began, last AS last_heartbeat
FROM sessions
WHERE (sensor_id, session) IN (SELECT sensor_id, session FROM shared)
ORDER BY sensor_id, began, session;
