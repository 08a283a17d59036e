-- Netview's tables, version 1. Statements end with a semicolon at the end of a line.
-- {{database}} and {{retention...}} are filled in by the receiver; `netview schema` prints the result.
--
-- Key, partition and shard follow from the record's own bytes and the key ends
-- in its identity (session, sequence): a record that arrives twice, by whatever
-- road, replaces itself. Rows of one snapshot arrive in a stable order, so that
-- a snapshot is close to a repetition of the one before it and compresses to
-- little; this is also why a connection stores the moment it began and not its
-- age, which differs in every row.

CREATE TABLE IF NOT EXISTS {{database}}.snapshot_connections
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
    family LowCardinality(String) CODEC(ZSTD(1)),
    local_address IPv6 CODEC(ZSTD(1)),
    local_port UInt16 CODEC(ZSTD(1)),
    remote_address IPv6 CODEC(ZSTD(1)),
    remote_port UInt16 CODEC(ZSTD(1)),
    state LowCardinality(String) CODEC(ZSTD(1)),
    direction LowCardinality(String) CODEC(ZSTD(1)),
    direction_source LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    inode UInt64 CODEC(ZSTD(1)),
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
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),
    INDEX remote_address_bloom remote_address TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toStartOfHour(timestamp)
ORDER BY (sensor_id, timestamp, session, sequence)
TTL toDateTime(timestamp) + toIntervalSecond({{retention_connections}})
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS {{database}}.snapshot_listeners
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
    local_address IPv6 CODEC(ZSTD(1)),
    local_port UInt16 CODEC(ZSTD(1)),
    ephemeral Bool CODEC(ZSTD(1)),
    inode UInt64 CODEC(ZSTD(1)),
    pid Nullable(UInt32) CODEC(ZSTD(1)),
    binary LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    process_name LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    user LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    container_id LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    command_line Nullable(String) CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toStartOfHour(timestamp)
ORDER BY (sensor_id, timestamp, session, sequence)
TTL toDateTime(timestamp) + toIntervalSecond({{retention_listeners}})
SETTINGS ttl_only_drop_parts = 1;

-- Of a heartbeat that arrives twice the first copy stays: what was known at a
-- time must not change, or pages of one snapshot would.
CREATE TABLE IF NOT EXISTS {{database}}.heartbeats
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
    connections UInt64 CODEC(ZSTD(1)),
    tcp_listeners UInt64 CODEC(ZSTD(1)),
    udp_listeners UInt64 CODEC(ZSTD(1)),
    time_wait UInt64 CODEC(ZSTD(1)),
    namespaces UInt64 CODEC(ZSTD(1)),
    mode LowCardinality(String) CODEC(ZSTD(1)),
    interval_secs Float64 CODEC(ZSTD(1)),
    collect_secs Float64 CODEC(ZSTD(1)),
    uptime_secs Float64 CODEC(ZSTD(1)),
    losses Map(LowCardinality(String), UInt64) CODEC(ZSTD(1)),
    features Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),
    first UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Milli(received))) CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(first)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (sensor_id, timestamp, session, sequence)
TTL toDateTime(timestamp) + toIntervalSecond({{retention_heartbeats}})
SETTINGS ttl_only_drop_parts = 1;

-- Records whose clock cannot be believed: too far from the receiver's, or an
-- absurd date. One constant partition, so that no clock can make partitions.
CREATE TABLE IF NOT EXISTS {{database}}.quarantine
(
    sensor_id LowCardinality(String),
    session UUID,
    sequence UInt64,
    kind LowCardinality(String),
    reason LowCardinality(String),
    timestamp_unix_nano UInt64,
    skew_secs Nullable(Float64),
    record String CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (sensor_id, kind, session, sequence)
TTL toDateTime(received) + toIntervalSecond({{retention_quarantine}});
