-- Every connection of each sensor's newest complete heartbeat at a time, by page.
-- A page past the end gives the last one. `total` counts the rows of sensors
-- that are not stale; `page_count` covers every row.
CREATE OR REPLACE VIEW {{database}}.connections AS
WITH
    (SELECT throwIf({page_size:Int64} NOT BETWEEN 1 AND 500, 'page_size must be 1 to 500')) AS page_size_refused,
    (SELECT throwIf({page:Int64} < 1, 'page must be 1 or more')) AS page_refused,
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown,
    numbered AS
    (
        SELECT
            sensor_id, timestamp, session, sequence,
            countIf(NOT stale) OVER () AS total,
            toUInt64(ceil(count() OVER () / {page_size:Int64})) AS page_count,
            least(toUInt64({page:Int64}), page_count) AS current_page,
            row_number() OVER (ORDER BY sensor_id, session, sequence) AS position
        FROM
        (
            SELECT sensor_id, timestamp, session, sequence, stale
            FROM {{database}}.connection_columns(at = {at:DateTime64(3, 'UTC')})
            WHERE page_size_refused = 0 AND page_refused = 0
                AND (sensor_id, timestamp, session, heartbeat) IN
                    (SELECT sensor_id, timestamp, session, heartbeat FROM {{database}}.heartbeats_known(sensor_id = {sensor_id:String}, at = {at:DateTime64(3, 'UTC')}, known = '2299-12-31'))
            LIMIT 1 BY session, sequence
        )
    ),
    -- The rows of the page first, by their keys alone: all columns of a fleet cost four times as much.
    (
        SELECT (any(total), any(page_count), any(current_page), groupArray((sensor_id, timestamp, session, sequence)))
            ::Tuple(total UInt64, page_count UInt64, current_page UInt64, keys Array(Tuple(String, DateTime64(6, 'UTC'), UUID, UInt64)))
        FROM numbered
        WHERE position > (current_page - 1) * {page_size:Int64} AND position <= current_page * {page_size:Int64}
    ) AS page
SELECT
    * REPLACE (shown(local_address) AS local_address, shown(remote_address) AS remote_address),
    tupleElement(page, 'total') AS total, tupleElement(page, 'page_count') AS page_count, tupleElement(page, 'current_page') AS current_page, toUInt64({page_size:Int64}) AS page_size
FROM {{database}}.connection_columns(at = {at:DateTime64(3, 'UTC')})
WHERE (sensor_id, timestamp, session, sequence) IN (SELECT arrayJoin(tupleElement(page, 'keys')))
ORDER BY sensor_id, session, sequence
LIMIT 1 BY session, sequence;
