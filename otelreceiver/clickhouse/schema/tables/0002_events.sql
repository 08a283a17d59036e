-- Netview's tables, version 2: what happens between heartbeats, and the records
-- of what was lost. Keys and partitions follow the rule of version 1.
--
-- The kinds of `events` share their columns; one that a kind does not have is
-- null in its rows.

CREATE TABLE IF NOT EXISTS {{database}}.events
(
    kind LowCardinality(String) CODEC(ZSTD(1)),
    sensor_id LowCardinality(String) CODEC(ZSTD(1)),
    session UUID CODEC(ZSTD(1)),
    sequence UInt64 CODEC(Delta, ZSTD(1)),
    timestamp DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    host_name LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    host_id LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    host_arch LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    os_version LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    sensor_version LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    netns UInt64 CODEC(ZSTD(1)),
    transport LowCardinality(String) CODEC(ZSTD(1)),
    family LowCardinality(String) CODEC(ZSTD(1)),
    source_address IPv6 CODEC(ZSTD(1)),
    source_port UInt16 CODEC(ZSTD(1)),
    destination_address IPv6 CODEC(ZSTD(1)),
    destination_port UInt16 CODEC(ZSTD(1)),
    result LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    direction LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    direction_source LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    bytes_sent Nullable(UInt64) CODEC(ZSTD(1)),
    bytes_received Nullable(UInt64) CODEC(ZSTD(1)),
    final_state LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    final_detail LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    pid Nullable(UInt32) CODEC(ZSTD(1)),
    binary LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    process_name LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    user LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    container_id LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    command_line Nullable(String) CODEC(ZSTD(1)),
    duration_secs Nullable(Float64) CODEC(ZSTD(1)),
    duration_source LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    remote_name LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),
    INDEX destination_address_bloom destination_address TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (kind, sensor_id, timestamp, session, sequence)
TTL toDateTime(timestamp) + toIntervalSecond({{retention_events}})
SETTINGS ttl_only_drop_parts = 1;

-- The numbers of a session that will never come. `session` is that of the gap
-- record itself, which may be a later one than `gap_session`.
CREATE TABLE IF NOT EXISTS {{database}}.gaps
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
    gap_session UUID CODEC(ZSTD(1)),
    gap_first UInt64 CODEC(ZSTD(1)),
    gap_last UInt64 CODEC(ZSTD(1)),
    cause LowCardinality(String) CODEC(ZSTD(1)),
    records UInt64 CODEC(ZSTD(1)),
    kinds Map(LowCardinality(String), UInt64) CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (sensor_id, timestamp, session, sequence)
TTL toDateTime(timestamp) + toIntervalSecond({{retention_gaps}})
SETTINGS ttl_only_drop_parts = 1;
