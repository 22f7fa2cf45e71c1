-- no transaction: built beside live traffic. What is old is removed by it.
CREATE INDEX CONCURRENTLY rejections_decided ON rejections (decided_at);
