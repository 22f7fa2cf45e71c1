-- no transaction: built beside live traffic. The history in its order of time: what is old is removed by it, a span of time found.
CREATE INDEX CONCURRENTLY events_created ON events (created_at);
