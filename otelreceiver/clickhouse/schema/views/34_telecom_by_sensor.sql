-- Which sensors served a telecom port of UDP in a window of time: how many sockets
-- listen on it at the end of the window, and how many did at most. A sensor that is
-- stale by then, or left out, has `stale` = 1 and null for what listens.
CREATE OR REPLACE VIEW {{database}}.telecom_by_sensor AS
SELECT
    sensor_id, local_port, any(service) AS service,
    if(stale, NULL, sumIf(sockets, counted.timestamp = live.timestamp AND counted.session = live.session AND counted.heartbeat = live.heartbeat)) AS listeners,
    max(sockets) AS most,
    countIf(live.sensor_id = counted.sensor_id) = 0 AS stale
FROM
(
    SELECT sensor_id, timestamp, session, heartbeat, local_port, service, uniqExact(sequence) AS sockets
    FROM {{database}}.listener_columns(at = {until:DateTime64(3, 'UTC')})
    WHERE transport = 'udp' AND local_port IN (2152, 8805, 1812, 1813, 9899)
        AND timestamp >= {since:DateTime64(3, 'UTC')} - INTERVAL 90 SECOND -- a live heartbeat can be as old
        AND timestamp <= {until:DateTime64(3, 'UTC')}
        AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
    GROUP BY sensor_id, timestamp, session, heartbeat, local_port, service
) AS counted
LEFT JOIN
(
    SELECT sensor_id, timestamp, session, heartbeat
    FROM {{database}}.newest_heartbeats(sensor_id = {sensor_id:String}, at = {until:DateTime64(3, 'UTC')})
    WHERE NOT stale
) AS live ON live.sensor_id = counted.sensor_id
GROUP BY sensor_id, local_port
ORDER BY sensor_id, local_port;
