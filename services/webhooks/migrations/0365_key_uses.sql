GRANT SELECT, INSERT, UPDATE ON key_uses TO mintwire_webhooks;

-- Published, version 1: codes shows when a key was last used, with whichever service.
CREATE VIEW key_uses_v1 AS SELECT key_id, last_used_at FROM key_uses;
GRANT USAGE ON SCHEMA webhooks TO mintwire_codes;
GRANT SELECT ON key_uses_v1 TO mintwire_codes;
