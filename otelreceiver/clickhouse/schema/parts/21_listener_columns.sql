-- As `connection_columns`, of the listeners of TCP and UDP. `service` names the
-- telecom ports of UDP as the metric netview_telecom_listeners does.
CREATE OR REPLACE VIEW {{database}}.listener_columns AS
SELECT
    sensor_id, host_name, transport,
    local_address, local_port,
    if(transport = 'udp', transform(local_port, [2152, 8805, 1812, 1813, 9899],
        ['gtp_u', 'pfcp', 'radius', 'radius_accounting', 'sctp_over_udp']::Array(Nullable(String)), NULL), NULL) AS service,
    pid, binary, user, container_id, netns,
    ephemeral, family, process_name, command_line,
    inode, connection_id,
    timestamp, session, heartbeat, sequence,
    timestamp < {at:DateTime64(3, 'UTC')} - INTERVAL 90 SECOND AS stale -- all rows of a snapshot have its time
FROM {{database}}.snapshot_listeners;
