-- One row for each telecom port of UDP: whether, and where, something listens on
-- it at a time. Stale sensors do not count.
CREATE OR REPLACE VIEW {{database}}.telecom_ports AS
SELECT
    ports.1 AS local_port, ports.2 AS service,
    listening.listeners AS listeners, listening.sensors AS sensors
FROM (SELECT arrayJoin([(2152, 'gtp_u'), (8805, 'pfcp'), (1812, 'radius'), (1813, 'radius_accounting'), (9899, 'sctp_over_udp')]) AS ports) AS named
LEFT JOIN
(
    SELECT local_port, count() AS listeners, arraySort(groupUniqArray(sensor_id)) AS sensors
    FROM {{database}}.udp_listeners(sensor_id = {sensor_id:String}, at = {at:DateTime64(3, 'UTC')})
    WHERE service IS NOT NULL AND NOT stale
    GROUP BY local_port
) AS listening ON listening.local_port = named.ports.1
ORDER BY local_port;
