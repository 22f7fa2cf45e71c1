-- no transaction: built beside live traffic. One grant per order of codes, whoever approves it at the same moment.
CREATE UNIQUE INDEX CONCURRENTLY quota_ledger_code_order ON quota_ledger (code_order_id) WHERE code_order_id IS NOT NULL;
