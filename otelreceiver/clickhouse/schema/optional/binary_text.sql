-- since 26.2.0
-- Finds the connections of a program in the past by a word of its path:
-- hasToken(binary, 'nginx').
ALTER TABLE {{database}}.snapshot_connections ADD INDEX IF NOT EXISTS binary_text binary TYPE text(tokenizer = splitByNonAlpha);
