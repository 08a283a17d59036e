-- UDP sockets that take from anyone, in each sensor's newest complete heartbeat at
-- a time. `service` names the telecom ports and is null for others; `ephemeral`
-- is true where the kernel chose the port.
CREATE OR REPLACE VIEW {{database}}.udp_listeners AS
WITH
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown
SELECT * EXCEPT (transport) REPLACE (shown(local_address) AS local_address)
FROM {{database}}.listener_columns(at = {at:DateTime64(3, 'UTC')})
WHERE transport = 'udp'
    AND (sensor_id, timestamp, session, heartbeat) IN
    (SELECT sensor_id, timestamp, session, heartbeat FROM {{database}}.heartbeats_known(sensor_id = {sensor_id:String}, at = {at:DateTime64(3, 'UTC')}, known = '2299-12-31'))
ORDER BY sensor_id, session, sequence
LIMIT 1 BY session, sequence;
