-- no transaction: built beside live traffic. The archived codes that were made for a customer.
CREATE INDEX CONCURRENTLY promotion_codes_archived_customer ON promotion_codes (program_id, customer_id, id)
    WHERE archived_at IS NOT NULL AND customer_id IS NOT NULL;
