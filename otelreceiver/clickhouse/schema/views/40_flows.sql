-- The TCP flows that live in each sensor's newest complete heartbeat at a time.
CREATE OR REPLACE VIEW {{database}}.flows AS
WITH
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown
SELECT * REPLACE (shown(source_address) AS source_address, shown(destination_address) AS destination_address)
FROM {{database}}.flow_columns(at = {at:DateTime64(3, 'UTC')})
WHERE (sensor_id, timestamp, session, heartbeat) IN
    (SELECT sensor_id, timestamp, session, heartbeat FROM {{database}}.heartbeats_known(sensor_id = {sensor_id:String}, at = {at:DateTime64(3, 'UTC')}, known = '2299-12-31'))
ORDER BY sensor_id, session, sequence
LIMIT 1 BY session, sequence;
