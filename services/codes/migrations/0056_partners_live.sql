-- no transaction: built beside live traffic. A program's live partners in the order of their list.
CREATE INDEX CONCURRENTLY partners_live ON partners (program_id, id) WHERE archived_at IS NULL;
