-- Who made a signing key, and the first characters of an HMAC secret, by which people recognise it: 24 bits of at least
-- 192. Not known of older keys.
ALTER TABLE endpoint_keys ADD COLUMN made_by uuid, ADD COLUMN starts_with text;
