-- What the webhook service has to know of partners, in a published view of its own, in place of `redeemable_v1`.

CREATE VIEW partner_v1 AS
SELECT p.id AS partner_id, p.program_id, p.status, p.archived_at FROM partners p;

-- Readers follow what was archived, in its order.
CREATE INDEX partners_archived ON partners (archived_at, id) WHERE archived_at IS NOT NULL;

GRANT SELECT ON partner_v1 TO mintwire_webhooks;

-- The release before asks `redeemable_v1` whether a partner exists, and some of its processes may still run. All that
-- they read there is these two columns, which show nothing that the new view does not.
REVOKE SELECT ON redeemable_v1 FROM mintwire_webhooks;
GRANT SELECT (program_id, partner_id) ON redeemable_v1 TO mintwire_webhooks;
