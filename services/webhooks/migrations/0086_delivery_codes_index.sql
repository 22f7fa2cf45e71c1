-- no transaction: built beside live traffic. No result changes what it holds.
CREATE INDEX CONCURRENTLY deliveries_code ON deliveries (code_key, id) WHERE code_key IS NOT NULL;
