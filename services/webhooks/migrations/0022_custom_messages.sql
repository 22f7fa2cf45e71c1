-- What a program has published itself, by its own id, and until when that is kept; the message is one like others.
CREATE TABLE custom_messages (
    message_id uuid PRIMARY KEY,
    event_id text NOT NULL,
    keep_until timestamptz NOT NULL
);
CREATE INDEX custom_messages_kept ON custom_messages (keep_until);

GRANT SELECT, INSERT, DELETE ON custom_messages TO mintwire_webhooks;
