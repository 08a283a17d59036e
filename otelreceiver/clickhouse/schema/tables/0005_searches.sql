-- Netview's tables, version 5: searches by the address of either end.

ALTER TABLE {{database}}.events ADD INDEX IF NOT EXISTS source_address_bloom source_address TYPE bloom_filter GRANULARITY 1;
