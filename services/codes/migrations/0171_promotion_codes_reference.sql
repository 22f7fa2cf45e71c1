-- no transaction: built beside live traffic. One live code per partner and reference; codes without one are not in it.
CREATE UNIQUE INDEX CONCURRENTLY promotion_codes_reference ON promotion_codes (partner_id, reference) WHERE reference IS NOT NULL AND archived_at IS NULL;
