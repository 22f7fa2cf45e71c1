-- no transaction: built beside live traffic. The redemptions of a code in the order of a list; in place of `redemptions_code`.
CREATE INDEX CONCURRENTLY redemptions_of_code ON redemptions (code_id, occurred_at, id);
