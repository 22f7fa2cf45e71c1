-- Whether deliveries may still be pending that were so when the endpoint was disabled: chunk by chunk they become dead
-- letters, and whoever comes after a crash finds by this where to go on.
ALTER TABLE endpoints ADD COLUMN is_closing boolean NOT NULL DEFAULT false;
CREATE INDEX endpoints_closing ON endpoints (id) WHERE is_closing;
UPDATE endpoints SET is_closing = true WHERE status = 'disabled' AND archived_at IS NULL;
