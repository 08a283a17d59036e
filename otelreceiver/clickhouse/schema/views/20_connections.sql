-- Every connection of each sensor's newest complete heartbeat at a time, by page.
-- A page past the end gives the last one. `total` counts the rows of sensors
-- that are not stale; `page_count` covers every row.
CREATE OR REPLACE VIEW {{database}}.connections AS
WITH
    (SELECT throwIf({page_size:Int64} NOT BETWEEN 1 AND 500, 'page_size must be 1 to 500')) AS page_size_refused,
    (SELECT throwIf({page:Int64} < 1, 'page must be 1 or more')) AS page_refused,
    newest AS
    (
        SELECT sensor_id, timestamp, session, heartbeat, stale
        FROM {{database}}.newest_heartbeats(sensor_id = {sensor_id:String}, at = {at:DateTime64(3, 'UTC')})
    ),
    rows AS
    (
        SELECT
            sensor_id, host_name, netns, family,
            local_address, local_port, remote_address, remote_port,
            state, direction, direction_source,
            pid, binary, process_name, user, container_id, command_line,
            duration_secs, duration_source, remote_name,
            inode, connection_id, rtt_secs, retransmits, timestamp, session, heartbeat, sequence
        FROM {{database}}.snapshot_connections
        WHERE (sensor_id, timestamp) IN (SELECT sensor_id, timestamp FROM newest)
            AND (session, heartbeat) IN (SELECT session, heartbeat FROM newest)
        LIMIT 1 BY session, sequence
    ),
    numbered AS
    (
        SELECT
            *,
            sensor_id IN (SELECT sensor_id FROM newest WHERE stale) AS stale,
            countIf(NOT stale) OVER () AS total,
            toUInt64(ceil(count() OVER () / {page_size:Int64})) AS page_count,
            least(toUInt64({page:Int64}), page_count) AS current_page,
            row_number() OVER (ORDER BY sensor_id, session, sequence) AS position
        FROM rows
    )
SELECT
    sensor_id, host_name,
    replaceRegexpOne(toString(local_address), '^::ffff:([0-9.]+)$', '\\1') AS local_address, local_port,
    replaceRegexpOne(toString(remote_address), '^::ffff:([0-9.]+)$', '\\1') AS remote_address, remote_port,
    state, pid, binary, user, container_id, netns,
    duration_secs, duration_source, remote_name,
    direction, direction_source, family, process_name, command_line,
    inode, connection_id, rtt_secs, retransmits,
    timestamp, session, heartbeat, sequence, stale,
    total, page_count, current_page, toUInt64({page_size:Int64}) AS page_size
FROM numbered
WHERE page_size_refused = 0 AND page_refused = 0
    AND position > (current_page - 1) * {page_size:Int64}
    AND position <= current_page * {page_size:Int64}
ORDER BY position;
