-- Outbound attempts that failed in a window of time, by program, destination and
-- result, the most frequent first.
CREATE OR REPLACE VIEW {{database}}.failed_connects AS
WITH
    (SELECT throwIf({limit:Int64} NOT BETWEEN 1 AND 500, 'limit must be 1 to 500')) AS limit_refused,
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown
SELECT
    sensor_id, any(host_name) AS host_name, binary,
    shown(events.destination_address) AS destination_address, destination_port, any(remote_name) AS remote_name,
    result, count() AS attempts, min(timestamp) AS first_seen, max(timestamp) AS last_seen
FROM {{database}}.events FINAL
WHERE limit_refused = 0 AND kind = 'network_connect' AND result != 'ok'
    AND timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
    AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
GROUP BY sensor_id, binary, events.destination_address, destination_port, result
ORDER BY attempts DESC, sensor_id, binary, events.destination_address, destination_port, result
LIMIT {limit:Int64};
