-- What listens on TCP in each sensor's newest complete heartbeat at a time.
CREATE OR REPLACE VIEW {{database}}.listeners AS
WITH
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown
SELECT * EXCEPT (transport, service, ephemeral) REPLACE (shown(local_address) AS local_address)
FROM {{database}}.listener_columns(at = {at:DateTime64(3, 'UTC')})
WHERE transport = 'tcp'
    AND (sensor_id, timestamp, session, heartbeat) IN
    (SELECT sensor_id, timestamp, session, heartbeat FROM {{database}}.heartbeats_known(sensor_id = {sensor_id:String}, at = {at:DateTime64(3, 'UTC')}, known = '2299-12-31'))
ORDER BY sensor_id, session, sequence
LIMIT 1 BY session, sequence;
