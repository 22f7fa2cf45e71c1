-- The owner's own name for an endpoint, so that it can be found again without keeping our id.
ALTER TABLE endpoints ADD COLUMN uid text;
CREATE UNIQUE INDEX endpoints_uid ON endpoints (owner_id, uid) WHERE archived_at IS NULL AND uid IS NOT NULL;
