-- When each API key was last used with the service, to the minute. Written at most once a minute per key, by whichever
-- process comes first.
CREATE TABLE key_uses (
    key_id uuid PRIMARY KEY,
    last_used_at timestamptz NOT NULL
) WITH (fillfactor = 50);
