-- no transaction: built beside live traffic. Voids in the order in which they happened.
CREATE INDEX CONCURRENTLY redemptions_voided_at ON redemptions (program_id, voided_at) WHERE voided_at IS NOT NULL;
