-- Forms of sealed texts that are not opened any more. The service adds to it and can change nothing in it, so that a text
-- that was sealed in a closed form, and taken from an old copy of the database, stays closed.
CREATE TABLE closed_seal_forms (
    form smallint PRIMARY KEY,
    closed_at timestamptz NOT NULL
);
GRANT SELECT, INSERT ON closed_seal_forms TO mintwire_webhooks;

-- Since when a secret of the endpoint cannot be opened, and when one that could not was opened again.
ALTER TABLE endpoints ADD COLUMN secret_unreadable_since timestamptz;
ALTER TABLE endpoints ADD COLUMN secret_readable_at timestamptz;
