-- no transaction: built beside live traffic. Leads the list of refused tries.
CREATE INDEX CONCURRENTLY rejections_program ON rejections (program_id, occurred_at, id);
