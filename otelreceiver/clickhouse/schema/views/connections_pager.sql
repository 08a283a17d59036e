-- One row that says how many pages `connections` has; it answers for an empty set too.
CREATE OR REPLACE VIEW {{database}}.connections_pager AS
WITH
    (SELECT throwIf({page_size:Int64} NOT BETWEEN 1 AND 500, 'page_size must be 1 to 500')) AS page_size_refused,
    (SELECT throwIf({page:Int64} < 1, 'page must be 1 or more')) AS page_refused,
    newest AS
    (
        SELECT sensor_id, argMax((session, heartbeat, timestamp), (timestamp, session, heartbeat)) AS newest_heartbeat
        FROM {{database}}.heartbeats
        WHERE timestamp <= {at:DateTime64(3, 'UTC')}
            AND timestamp > {at:DateTime64(3, 'UTC')} - INTERVAL 6 MINUTE
            AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
        GROUP BY sensor_id
    ),
    rows AS
    (
        SELECT timestamp < {at:DateTime64(3, 'UTC')} - INTERVAL 90 SECOND AS stale
        FROM {{database}}.snapshot_connections
        WHERE (sensor_id, timestamp) IN (SELECT sensor_id, newest_heartbeat.3 FROM newest)
            AND (session, heartbeat) IN (SELECT newest_heartbeat.1, newest_heartbeat.2 FROM newest)
        LIMIT 1 BY session, sequence
    )
SELECT
    countIf(NOT stale) AS total,
    countIf(stale) AS stale_total,
    toUInt64(ceil(count() / {page_size:Int64})) AS page_count,
    least(toUInt64({page:Int64}), page_count) AS current_page,
    toUInt64({page_size:Int64}) AS page_size
FROM rows
WHERE page_size_refused = 0 AND page_refused = 0;
