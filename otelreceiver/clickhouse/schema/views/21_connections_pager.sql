-- One row that says how many pages `connections` has; it answers for an empty set too.
CREATE OR REPLACE VIEW {{database}}.connections_pager AS
WITH
    (SELECT throwIf({page_size:Int64} NOT BETWEEN 1 AND 500, 'page_size must be 1 to 500')) AS page_size_refused,
    (SELECT throwIf({page:Int64} < 1, 'page must be 1 or more')) AS page_refused
SELECT
    countIf(NOT stale) AS total,
    countIf(stale) AS stale_total,
    toUInt64(ceil(count() / {page_size:Int64})) AS page_count,
    least(toUInt64({page:Int64}), page_count) AS current_page,
    toUInt64({page_size:Int64}) AS page_size
FROM
(
    SELECT stale
    FROM {{database}}.connection_columns(at = {at:DateTime64(3, 'UTC')})
    WHERE (sensor_id, timestamp, session, heartbeat) IN
        (SELECT sensor_id, timestamp, session, heartbeat FROM {{database}}.heartbeats_known(sensor_id = {sensor_id:String}, at = {at:DateTime64(3, 'UTC')}, known = '2299-12-31'))
    LIMIT 1 BY session, sequence
)
WHERE page_size_refused = 0 AND page_refused = 0;
