-- Who moved the most bytes in the flows that ended in a window of time: programs
-- of a host with their peers.
CREATE OR REPLACE VIEW {{database}}.top_talkers AS
WITH
    (SELECT throwIf({limit:Int64} NOT BETWEEN 1 AND 500, 'limit must be 1 to 500')) AS limit_refused,
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown
SELECT
    sensor_id, any(host_name) AS host_name, binary, direction,
    shown(remote) AS remote_address, destination_port, any(remote_name) AS remote_name,
    count() AS flows,
    countIf(final_state = 'refused') AS refused,
    sum(ifNull(events.bytes_sent, 0)) AS bytes_sent,
    sum(ifNull(events.bytes_received, 0)) AS bytes_received,
    bytes_sent + bytes_received AS bytes
FROM {{database}}.events FINAL
WHERE limit_refused = 0 AND kind = 'network_flow'
    AND timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
    AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
-- A flow has both ends: keys without nulls are grouped by in three quarters of the time.
GROUP BY sensor_id, binary, direction, assumeNotNull(if(direction = 'inbound', source_address, destination_address)) AS remote, assumeNotNull(events.destination_port) AS destination_port
ORDER BY bytes DESC, flows DESC, sensor_id, binary, direction, remote, destination_port
LIMIT {limit:Int64};
