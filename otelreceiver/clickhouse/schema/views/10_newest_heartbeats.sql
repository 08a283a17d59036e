-- Each sensor's newest complete heartbeat at a time. Every view of snapshots
-- rests on it. After 90 s of silence a sensor is stale, after 6 minutes left out.
CREATE OR REPLACE VIEW {{database}}.newest_heartbeats AS
WITH
    newest AS
    (
        SELECT sensor_id, max((timestamp, session, sequence)) AS identity
        FROM {{database}}.heartbeats
        WHERE timestamp <= {at:DateTime64(3, 'UTC')}
            AND timestamp > {at:DateTime64(3, 'UTC')} - INTERVAL 6 MINUTE
            AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
        GROUP BY sensor_id
    )
SELECT
    sensor_id, host_name, session, heartbeat, timestamp,
    connections, tcp_listeners, udp_listeners, mode,
    timestamp < {at:DateTime64(3, 'UTC')} - INTERVAL 90 SECOND AS stale
FROM {{database}}.heartbeats
WHERE (sensor_id, timestamp, session, sequence) IN (SELECT sensor_id, identity.1, identity.2, identity.3 FROM newest)
LIMIT 1 BY sensor_id;
