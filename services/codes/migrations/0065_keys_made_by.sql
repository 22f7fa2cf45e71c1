-- Which key made a key, so that after a leak its keys are found too; null is the operator. What the audit log knows of
-- older keys is taken from there.
ALTER TABLE api_keys ADD COLUMN made_by_key_id uuid;

UPDATE api_keys k SET made_by_key_id = substring(a.actor FROM 5)::uuid
FROM audit_log a
WHERE a.object_id = k.id AND a.action = 'key.created' AND a.actor LIKE 'key ________-____-____-____-____________';
