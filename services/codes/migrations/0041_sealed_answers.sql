-- no transaction: built beside live traffic. By it the sealed answers, which are few, are looked through.
CREATE INDEX CONCURRENTLY idempotency_keys_sealed ON idempotency_keys (owner_id, route, key) WHERE is_encrypted;
