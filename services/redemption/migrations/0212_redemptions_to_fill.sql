-- no transaction: built beside live traffic. Nothing of this release is ever in it.
CREATE INDEX CONCURRENTLY redemptions_to_fill ON redemptions (id) WHERE NOT is_mailbox_kept;
