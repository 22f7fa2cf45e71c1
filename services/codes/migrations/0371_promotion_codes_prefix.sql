-- no transaction: built beside live traffic. In the order of bytes, so that it finds the codes with a prefix in every collation, and equal codes too.
CREATE UNIQUE INDEX CONCURRENTLY promotion_codes_prefix ON promotion_codes (program_id, canonical text_pattern_ops) WHERE archived_at IS NULL;
