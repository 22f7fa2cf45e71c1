-- What a program has published may be kept for longer than the inbox knows its event: what was said then is known by this.
-- Of messages of before it is null.
ALTER TABLE custom_messages ADD COLUMN body_sha256 bytea;
