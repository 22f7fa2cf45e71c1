-- no transaction. Voids are counted as they happen, so nobody looks for them in their order.
DROP INDEX CONCURRENTLY IF EXISTS redemptions_voided_at;
