-- What views show of a connection, of every row that there is: who asks names
-- heartbeats, and adds LIMIT 1 BY session, sequence, for a row may be there twice.
CREATE OR REPLACE VIEW {{database}}.connection_columns AS
SELECT
    sensor_id, host_name,
    local_address, local_port, remote_address, remote_port,
    state, pid, binary, user, container_id, netns,
    duration_secs, duration_source, remote_name,
    direction, direction_source, family, process_name, command_line,
    inode, connection_id, rtt_secs, retransmits,
    timestamp, session, heartbeat, sequence,
    timestamp < {at:DateTime64(3, 'UTC')} - INTERVAL 90 SECOND AS stale -- all rows of a snapshot have its time
FROM {{database}}.snapshot_connections;
