-- A page of events of a window of time, after a cursor as of `connections_after`:
-- by kind, sensor and time, the oldest first. `sensor_id` and `kind` are lists
-- with commas, empty for all.
CREATE OR REPLACE VIEW {{database}}.events_after AS
WITH
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown,
    place -> concat(place, '~', lower(hex(sipHash64(place)))) AS sealed,
    (SELECT last FROM {{database}}.events_cursor(sensor_id = {sensor_id:String}, kind = {kind:String},
        since = {since:DateTime64(3, 'UTC')}, until = {until:DateTime64(3, 'UTC')}, after = {after:String}, limit = {limit:Int64})) AS last
SELECT
    * EXCEPT (received) REPLACE (shown(source_address) AS source_address, shown(destination_address) AS destination_address),
    sealed(arrayStringConcat([tupleElement(last, 'head'), toString(kind), toString(sensor_id), toString(toUnixTimestamp64Micro(timestamp)), toString(session), toString(sequence)], '~')) AS cursor
FROM {{database}}.events FINAL
WHERE timestamp >= tupleElement(last, 'since') AND timestamp < tupleElement(last, 'until')
    AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
    AND ({kind:String} = '' OR kind IN splitByChar(',', {kind:String}))
    -- As a comparison of tuples this would read every row.
    AND kind >= tupleElement(last, 'kind') AND (kind > tupleElement(last, 'kind')
        OR sensor_id >= tupleElement(last, 'sensor_id') AND (sensor_id > tupleElement(last, 'sensor_id')
            OR timestamp >= tupleElement(last, 'timestamp') AND (timestamp > tupleElement(last, 'timestamp')
                OR session >= tupleElement(last, 'session') AND (session > tupleElement(last, 'session') OR sequence > tupleElement(last, 'sequence')))))
ORDER BY kind, sensor_id, timestamp, session, sequence
LIMIT {limit:Int64};
