-- Netview's tables, version 4: the kinds dns_query, dns_lookup and dns_resolution.
-- A dns_lookup has no ends, so that these may be null from now on.
--
-- Names repeat much: as LowCardinality a million of them took 3.3 MB for 4.7, and
-- the bloom filter 0.3 MB. Lists are empty where nothing is known.

ALTER TABLE {{database}}.events
    MODIFY COLUMN transport LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    MODIFY COLUMN family LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    MODIFY COLUMN destination_address Nullable(IPv6) CODEC(ZSTD(1)),
    MODIFY COLUMN destination_port Nullable(UInt16) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS protocol LowCardinality(Nullable(String)) CODEC(ZSTD(1)) AFTER connection_id,
    ADD COLUMN IF NOT EXISTS name LowCardinality(Nullable(String)) CODEC(ZSTD(1)) AFTER protocol,
    ADD COLUMN IF NOT EXISTS query_type LowCardinality(Nullable(String)) CODEC(ZSTD(1)) AFTER name,
    ADD COLUMN IF NOT EXISTS query_class LowCardinality(Nullable(String)) CODEC(ZSTD(1)) AFTER query_type,
    ADD COLUMN IF NOT EXISTS dns_id Nullable(UInt32) CODEC(ZSTD(1)) AFTER query_class,
    ADD COLUMN IF NOT EXISTS servers Array(String) CODEC(ZSTD(1)) AFTER dns_id,
    ADD COLUMN IF NOT EXISTS attempts Nullable(UInt32) CODEC(ZSTD(1)) AFTER servers,
    ADD COLUMN IF NOT EXISTS rcode LowCardinality(Nullable(String)) CODEC(ZSTD(1)) AFTER attempts,
    ADD COLUMN IF NOT EXISTS latency_secs Nullable(Float64) CODEC(ZSTD(1)) AFTER rcode,
    ADD COLUMN IF NOT EXISTS answers Array(String) CODEC(ZSTD(1)) AFTER latency_secs,
    ADD COLUMN IF NOT EXISTS answer_types Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER answers,
    ADD COLUMN IF NOT EXISTS answer_ttls Array(UInt32) CODEC(ZSTD(1)) AFTER answer_types,
    ADD COLUMN IF NOT EXISTS answer_count Nullable(UInt32) CODEC(ZSTD(1)) AFTER answer_ttls,
    ADD COLUMN IF NOT EXISTS truncated Nullable(Bool) CODEC(ZSTD(1)) AFTER answer_count,
    ADD COLUMN IF NOT EXISTS service LowCardinality(Nullable(String)) CODEC(ZSTD(1)) AFTER truncated,
    ADD COLUMN IF NOT EXISTS errno LowCardinality(Nullable(String)) CODEC(ZSTD(1)) AFTER service,
    ADD COLUMN IF NOT EXISTS library LowCardinality(Nullable(String)) CODEC(ZSTD(1)) AFTER errno,
    ADD COLUMN IF NOT EXISTS name_source LowCardinality(Nullable(String)) CODEC(ZSTD(1)) AFTER library,
    ADD COLUMN IF NOT EXISTS same_process Nullable(Bool) CODEC(ZSTD(1)) AFTER name_source,
    ADD COLUMN IF NOT EXISTS age_secs Nullable(Float64) CODEC(ZSTD(1)) AFTER same_process,
    ADD COLUMN IF NOT EXISTS ttl_secs Nullable(Float64) CODEC(ZSTD(1)) AFTER age_secs,
    ADD COLUMN IF NOT EXISTS other_names Array(String) CODEC(ZSTD(1)) AFTER ttl_secs,
    ADD INDEX IF NOT EXISTS name_bloom name TYPE bloom_filter GRANULARITY 1;
