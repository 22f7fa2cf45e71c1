-- no transaction: built beside live traffic. What a customer has redeemed is counted by its mailbox too.
CREATE INDEX CONCURRENTLY redemptions_mailbox ON redemptions (coupon_id, mailbox_key) WHERE mailbox_key IS NOT NULL;
