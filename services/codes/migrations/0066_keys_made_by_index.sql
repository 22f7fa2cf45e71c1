-- no transaction: built beside live traffic. What the list of a key's own keys goes by.
CREATE INDEX CONCURRENTLY api_keys_made_by ON api_keys (made_by_key_id, id) WHERE made_by_key_id IS NOT NULL;
