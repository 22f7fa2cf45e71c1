-- no transaction. `rejections_of_order` does its work.
DROP INDEX CONCURRENTLY IF EXISTS rejections_order;
