-- no transaction: built beside live traffic. And what it holds.
CREATE INDEX CONCURRENTLY holds_mailbox ON holds (coupon_id, mailbox_key) WHERE mailbox_key IS NOT NULL;
