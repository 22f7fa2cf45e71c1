-- A client certificate by which we are known to the receiver, and whom we trust to vouch for the receiver instead of the
-- usual authorities. `client_certificate` and `ca_certificates` hold what may be shown; the key is sealed.
-- `certificate_warns_at` is when the owner is next to be told that the certificate expires.
ALTER TABLE endpoints ADD COLUMN client_certificate jsonb;
ALTER TABLE endpoints ADD COLUMN client_chain text;
ALTER TABLE endpoints ADD COLUMN sealed_client_key bytea;
ALTER TABLE endpoints ADD COLUMN certificate_expires_at timestamptz;
ALTER TABLE endpoints ADD COLUMN certificate_warns_at timestamptz;
ALTER TABLE endpoints ADD COLUMN ca_certificates jsonb;
ALTER TABLE endpoints ADD COLUMN ca_bundle text;
