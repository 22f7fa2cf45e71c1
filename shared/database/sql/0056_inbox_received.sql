-- no transaction: built beside live traffic. What is old is removed by it.
CREATE INDEX CONCURRENTLY inbox_received ON inbox (received_at);
