-- no transaction: built beside live traffic. Leads the list of refused tries.
CREATE INDEX CONCURRENTLY rejections_partner ON rejections (program_id, partner_id, occurred_at, id) WHERE partner_id IS NOT NULL;
