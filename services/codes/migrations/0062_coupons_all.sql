-- no transaction: built beside live traffic. A program's coupons with the archived ones, in the order in which exports go.
CREATE INDEX CONCURRENTLY coupons_all ON coupons (program_id, id);
