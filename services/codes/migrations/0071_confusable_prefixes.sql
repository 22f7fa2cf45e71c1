-- No two live partners of a program have prefixes that read the same: SHOP and SH0P begin the same codes.

-- Of those that do already, all but the oldest keep their prefix until they change it.
ALTER TABLE partners ADD COLUMN has_shared_prefix boolean NOT NULL DEFAULT false;
UPDATE partners p SET has_shared_prefix = true
WHERE p.archived_at IS NULL AND EXISTS (
    SELECT 1 FROM partners older
    WHERE older.program_id = p.program_id AND older.archived_at IS NULL AND older.id < p.id
      AND translate(older.code_prefix, 'OIL', '011') = translate(p.code_prefix, 'OIL', '011'));

-- The index on the prefix as it is written stays: the release before names it where it inserts.
CREATE UNIQUE INDEX partners_prefix_canonical_live ON partners (program_id, translate(code_prefix, 'OIL', '011'))
    WHERE archived_at IS NULL AND NOT has_shared_prefix;
CREATE INDEX partners_prefix_canonical ON partners (program_id, translate(code_prefix, 'OIL', '011'))
    WHERE archived_at IS NULL;
