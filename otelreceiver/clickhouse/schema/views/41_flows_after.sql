-- A page of all flows that live, after a cursor as of `connections_after`.
CREATE OR REPLACE VIEW {{database}}.flows_after AS
WITH
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown,
    place -> concat(place, '~', lower(hex(sipHash64(place)))) AS sealed,
    (SELECT last FROM {{database}}.snapshot_cursor(view = 'flows', sensor_id = {sensor_id:String}, at = {at:DateTime64(3, 'UTC')}, after = {after:String}, limit = {limit:Int64})) AS last
SELECT
    * REPLACE (shown(source_address) AS source_address, shown(destination_address) AS destination_address),
    sealed(concat(tupleElement(last, 'head'), '~', sensor_id, '~', toString(sequence))) AS cursor
FROM {{database}}.flow_columns(at = tupleElement(last, 'at'))
WHERE (sensor_id, timestamp, session, sequence) IN
(
    -- The keys of the page first: all columns of what is left to read cost several times as much.
    SELECT sensor_id, timestamp, session, sequence
    FROM {{database}}.flow_columns(at = tupleElement(last, 'at'))
    WHERE sensor_id >= tupleElement(last, 'sensor_id') AND (sensor_id > tupleElement(last, 'sensor_id') OR sequence > tupleElement(last, 'sequence'))
        AND (sensor_id, timestamp, session, heartbeat) IN
            (SELECT sensor_id, timestamp, session, heartbeat FROM {{database}}.heartbeats_known(sensor_id = {sensor_id:String}, at = tupleElement(last, 'at'), known = tupleElement(last, 'known')))
    ORDER BY sensor_id, timestamp, session, sequence
    LIMIT 1 BY session, sequence
    LIMIT {limit:Int64}
    SETTINGS read_in_order_use_buffering = 0 -- or it reads far ahead
)
ORDER BY sensor_id, timestamp, session, sequence
LIMIT 1 BY session, sequence;
