-- since 26.2.0
-- Finds events by a DNS name or by the end of one: endsWith(name, '.example.com'),
-- name LIKE '%.example.com'. A million names took 4.5 MB; n-grams, which would find
-- any part of a name, 18.5 MB. hasToken(name, …) is to be kept away from: ClickHouse
-- 26.7 fails with it on parts that are older than the index and have nulls.
ALTER TABLE {{database}}.events ADD INDEX IF NOT EXISTS name_text name TYPE text(tokenizer = splitByNonAlpha);
