-- Who moved the most bytes in the flows that ended in a window of time: programs
-- of a host with their peers. `process` and `address` are looked at as events_search
-- does; `final_state` is a list with commas.
CREATE OR REPLACE VIEW {{database}}.top_talkers AS
WITH
    (SELECT throwIf({limit:Int64} NOT BETWEEN 1 AND 500, 'limit must be 1 to 500')) AS limit_refused,
    (SELECT (first, last) FROM {{database}}.address_range(address = {address:String})) AS range,
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown,
    -- A flow has both ends. A talker is grouped by as one number, a sum of hashes: by its
    -- five columns it takes twice as long.
    ended AS
    (
        SELECT
            *, assumeNotNull(if(direction = 'inbound', source_address, destination_address)) AS remote,
            sipHash64(sensor_id) + 3 * sipHash64(ifNull(binary, '')) + 5 * sipHash64(ifNull(direction, ''))
                + 7 * sipHash64(remote) + 11 * sipHash64(assumeNotNull(destination_port)) AS talker
        FROM {{database}}.events FINAL
        WHERE limit_refused = 0 AND kind = 'network_flow'
            AND timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
            AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
            AND ({process:String} = '' OR binary = {process:String} OR endsWith(binary, concat('/', {process:String}))
                OR process_name = {process:String} OR toString(pid) = {process:String})
            AND ({address:String} = '' OR source_address BETWEEN range.1 AND range.2 OR destination_address BETWEEN range.1 AND range.2)
            AND ({final_state:String} = '' OR final_state IN splitByChar(',', {final_state:String}))
    ),
    -- Who those are is read from the first flow of each, which the key finds.
    (
        SELECT groupArray((talker, sensor_id, first_seen, remote_name, flows, refused, sent, received))
        FROM
        (
            SELECT
                talker, any(sensor_id) AS sensor_id, min(timestamp) AS first_seen, any(remote_name) AS remote_name,
                count() AS flows, countIf(final_state = 'refused') AS refused, sum(ifNull(bytes_sent, 0)) AS sent, sum(ifNull(bytes_received, 0)) AS received
            FROM ended
            GROUP BY talker
            ORDER BY sent + received DESC, flows DESC, talker
            LIMIT {limit:Int64}
        )
    ) AS top
SELECT
    sensor_id, host_name, binary, direction, shown(remote) AS remote_address, assumeNotNull(destination_port) AS destination_port,
    of.4 AS remote_name, of.5 AS flows, of.6 AS refused, of.7 AS bytes_sent, of.8 AS bytes_received, bytes_sent + bytes_received AS bytes
FROM ended
INNER JOIN (SELECT arrayJoin(top) AS of, of.1 AS talker) AS totals USING (talker)
WHERE (sensor_id, timestamp) IN (SELECT arrayJoin(arrayMap(t -> (t.2, t.3), top)))
ORDER BY bytes DESC, flows DESC, sensor_id, binary, direction, remote, destination_port
LIMIT 1 BY talker;
