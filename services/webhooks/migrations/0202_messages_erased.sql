-- no transaction: built beside live traffic. The messages of one erasure, whose answers are looked at once more at its end.
CREATE INDEX CONCURRENTLY messages_erased ON messages (erased_by) WHERE erased_by IS NOT NULL;
