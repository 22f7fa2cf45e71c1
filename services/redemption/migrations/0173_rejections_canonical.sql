-- no transaction: built beside live traffic. Leads the list of refused tries.
CREATE INDEX CONCURRENTLY rejections_canonical ON rejections (program_id, canonical, occurred_at, id);
