-- The TCP flows that ended in a window of time.
CREATE OR REPLACE VIEW {{database}}.completed_flows AS
WITH
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown
SELECT
    timestamp, sensor_id, host_name,
    shown(source_address) AS source_address, source_port, shown(destination_address) AS destination_address, destination_port,
    final_state, final_detail, direction, direction_source,
    bytes_sent, bytes_received, rtt_secs, retransmits,
    pid, binary, user, container_id, netns,
    duration_secs, duration_source, remote_name,
    transport, family, process_name, command_line, connection_id, session, sequence
FROM {{database}}.events FINAL
WHERE kind = 'network_flow'
    AND timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
    AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}));
