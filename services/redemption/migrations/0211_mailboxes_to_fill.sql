-- A process of the release before writes redemptions without `mailbox_key`, and guests' mailboxes as they were compared then,
-- for as long as it runs beside this one. False are its rows, which `fill_mailboxes` looks up in the history of events;
-- true and null need nothing: what this release writes has both keys, and what was there before is filled.
ALTER TABLE redemptions ADD COLUMN is_mailbox_kept boolean;
ALTER TABLE redemptions ALTER COLUMN is_mailbox_kept SET DEFAULT false;
-- Those that were written while the history was being read, or since.
UPDATE redemptions r SET is_mailbox_kept = false
FROM public.mintwire_migrations m
WHERE m.schema_name = 'redemption' AND m.name = 'redemption/0103_mailboxes'
  AND r.decided_at BETWEEN m.applied_at - interval '10 minutes' AND m.applied_at + interval '1 day'
  AND r.customer_key IS NOT NULL AND r.mailbox_key IS NULL;
GRANT UPDATE (is_mailbox_kept) ON redemptions TO mintwire_redemption;
