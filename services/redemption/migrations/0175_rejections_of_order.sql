-- no transaction: built beside live traffic. Leads the list of refused tries.
CREATE INDEX CONCURRENTLY rejections_of_order ON rejections (program_id, order_ref, occurred_at, id);
