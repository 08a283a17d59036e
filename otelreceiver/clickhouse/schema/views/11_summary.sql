-- One row for each sensor at a time: what its newest complete heartbeat counts, and
-- what happened in the five minutes before. `connections` and the others count
-- for the fleet only where `stale` is 0.
CREATE OR REPLACE VIEW {{database}}.summary AS
WITH
    happened AS
    (
        SELECT
            sensor_id,
            count() / 300 AS events_per_second,
            countIf(kind = 'network_flow') AS completed_flows,
            countIf(kind = 'network_connect' AND result != 'ok') AS failed_connects
        FROM {{database}}.events FINAL
        WHERE timestamp > {at:DateTime64(3, 'UTC')} - INTERVAL 5 MINUTE AND timestamp <= {at:DateTime64(3, 'UTC')}
            AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
        GROUP BY sensor_id
    )
SELECT
    sensor_id, host_name, stale,
    dateDiff('millisecond', timestamp, {at:DateTime64(3, 'UTC')}) / 1000 AS age_secs,
    connections, tcp_listeners, udp_listeners, flows,
    events_per_second, completed_flows, failed_connects,
    arraySum(mapValues(losses)) AS lost,
    mode, uptime_secs, sensor_version, timestamp, session, heartbeat
FROM {{database}}.newest_heartbeats(sensor_id = {sensor_id:String}, at = {at:DateTime64(3, 'UTC')})
LEFT JOIN happened USING (sensor_id)
ORDER BY sensor_id;
