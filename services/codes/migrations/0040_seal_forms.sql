-- Forms of sealed texts that are not opened any more. The service adds to it and can change nothing in it, so that a text
-- that was sealed in a closed form, and taken from an old copy of the database, stays closed.
CREATE TABLE closed_seal_forms (
    form smallint PRIMARY KEY,
    closed_at timestamptz NOT NULL
);
GRANT SELECT, INSERT ON closed_seal_forms TO mintwire_codes;
