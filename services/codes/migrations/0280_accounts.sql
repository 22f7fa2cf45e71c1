-- Accounts that act through a dashboard.

-- Published, version 1: the tenants that an account may act for. A program alone, and each of its partners with it; what
-- is archived is as good as missing.
CREATE VIEW tenant_v1 AS
SELECT g.id AS program_id, g.name AS program_name, NULL::uuid AS partner_id, NULL::text AS partner_name,
       NULL::text AS partner_status
FROM programs g
UNION ALL
SELECT g.id, g.name, p.id, p.name, p.status
FROM partners p JOIN programs g ON g.id = p.program_id
WHERE p.archived_at IS NULL;

GRANT SELECT ON tenant_v1 TO mintwire_codes, mintwire_redemption, mintwire_webhooks;

-- An account that mints has a row among the keys, for its rate window; its digest is of no text. Its id is the account's.
ALTER TABLE api_keys DROP CONSTRAINT api_keys_kind_check;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_kind_check CHECK (kind IN ('secret', 'publishable', 'account'));
