-- As `connection_columns`, of the TCP flows that live.
CREATE OR REPLACE VIEW {{database}}.flow_columns AS
SELECT
    sensor_id, host_name,
    source_address, source_port, destination_address, destination_port,
    state, direction, direction_source,
    bytes_sent, bytes_received, rtt_secs, retransmits,
    pid, binary, user, container_id, netns,
    duration_secs, duration_source, remote_name,
    transport, family, process_name, command_line, connection_id,
    timestamp, session, heartbeat, sequence,
    timestamp < {at:DateTime64(3, 'UTC')} - INTERVAL 90 SECOND AS stale -- all rows of a snapshot have its time
FROM {{database}}.snapshot_flows;
