-- no transaction: built beside live traffic. A purchase makes no entry.
CREATE INDEX CONCURRENTLY orders_touched ON orders (touched_at) WHERE touched_at IS NOT NULL;
