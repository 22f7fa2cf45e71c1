-- no transaction: built beside live traffic. Coupons are looked for by their names.
CREATE INDEX CONCURRENTLY coupons_name ON coupons (program_id, name, id) WHERE archived_at IS NULL;
