-- Netview's tables, version 3: flows while they live, the socket that a row is
-- about, and the kinds network_listen and lsm_net_connect, which have no source.

CREATE TABLE IF NOT EXISTS {{database}}.snapshot_flows
(
    sensor_id LowCardinality(String) CODEC(ZSTD(1)),
    session UUID CODEC(ZSTD(1)),
    sequence UInt64 CODEC(Delta, ZSTD(1)),
    timestamp DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    host_name LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    host_id LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    host_arch LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    os_version LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    sensor_version LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    heartbeat UInt64 CODEC(Delta, ZSTD(1)),
    netns UInt64 CODEC(ZSTD(1)),
    transport LowCardinality(String) CODEC(ZSTD(1)),
    family LowCardinality(String) CODEC(ZSTD(1)),
    source_address IPv6 CODEC(ZSTD(1)),
    source_port UInt16 CODEC(ZSTD(1)),
    destination_address IPv6 CODEC(ZSTD(1)),
    destination_port UInt16 CODEC(ZSTD(1)),
    direction LowCardinality(String) CODEC(ZSTD(1)),
    direction_source LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    state LowCardinality(String) CODEC(ZSTD(1)),
    bytes_sent Nullable(UInt64) CODEC(ZSTD(1)),
    bytes_received Nullable(UInt64) CODEC(ZSTD(1)),
    rtt_secs Nullable(Float64) CODEC(ZSTD(1)),
    retransmits Nullable(UInt64) CODEC(ZSTD(1)),
    pid Nullable(UInt32) CODEC(ZSTD(1)),
    binary LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    process_name LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    user LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    container_id LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    command_line Nullable(String) CODEC(ZSTD(1)),
    started_at Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    duration_secs Nullable(Float64) ALIAS dateDiff('millisecond', started_at, timestamp) / 1000,
    duration_source LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    remote_name LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    connection_id Nullable(UInt64) CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),
    INDEX destination_address_bloom destination_address TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toStartOfHour(timestamp)
ORDER BY (sensor_id, timestamp, session, sequence)
TTL toDateTime(timestamp) + toIntervalSecond({{retention_flows}})
SETTINGS ttl_only_drop_parts = 1;

ALTER TABLE {{database}}.snapshot_connections
    ADD COLUMN IF NOT EXISTS connection_id Nullable(UInt64) CODEC(ZSTD(1)) AFTER remote_name,
    ADD COLUMN IF NOT EXISTS rtt_secs Nullable(Float64) CODEC(ZSTD(1)) AFTER connection_id,
    ADD COLUMN IF NOT EXISTS retransmits Nullable(UInt64) CODEC(ZSTD(1)) AFTER rtt_secs;

ALTER TABLE {{database}}.snapshot_listeners
    ADD COLUMN IF NOT EXISTS connection_id Nullable(UInt64) CODEC(ZSTD(1)) AFTER command_line;

ALTER TABLE {{database}}.heartbeats
    ADD COLUMN IF NOT EXISTS flows Nullable(UInt64) CODEC(ZSTD(1)) AFTER udp_listeners;

ALTER TABLE {{database}}.events
    MODIFY COLUMN source_address Nullable(IPv6) CODEC(ZSTD(1)),
    MODIFY COLUMN source_port Nullable(UInt16) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS backlog Nullable(UInt64) CODEC(ZSTD(1)) AFTER final_detail,
    ADD COLUMN IF NOT EXISTS rtt_secs Nullable(Float64) CODEC(ZSTD(1)) AFTER backlog,
    ADD COLUMN IF NOT EXISTS retransmits Nullable(UInt64) CODEC(ZSTD(1)) AFTER rtt_secs,
    ADD COLUMN IF NOT EXISTS connection_id Nullable(UInt64) CODEC(ZSTD(1)) AFTER remote_name;
