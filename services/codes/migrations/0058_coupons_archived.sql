-- no transaction: built beside live traffic. What bore a `uuid_code` last.
CREATE INDEX CONCURRENTLY coupons_archived ON coupons (program_id, uuid_code, archived_at) WHERE archived_at IS NOT NULL;
