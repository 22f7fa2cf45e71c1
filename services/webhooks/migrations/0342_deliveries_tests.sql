-- no transaction: built beside live traffic. Tests are few among millions; the list of their attempts begins with these.
CREATE INDEX CONCURRENTLY deliveries_tests ON deliveries (endpoint_id, id) WHERE event_type = 'test';
