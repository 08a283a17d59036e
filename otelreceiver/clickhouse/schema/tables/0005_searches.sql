-- Netview's tables, version 5: searches by the address of either end, or of an
-- answer of DNS.

ALTER TABLE {{database}}.events
    ADD INDEX IF NOT EXISTS source_address_bloom source_address TYPE bloom_filter GRANULARITY 1,
    ADD INDEX IF NOT EXISTS answers_bloom answers TYPE bloom_filter GRANULARITY 1;
