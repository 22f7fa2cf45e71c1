-- The tables that every service has in its own schema: events with their outbox, and the inbox.

CREATE TABLE events (
    id uuid PRIMARY KEY,
    type text NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Rows live for milliseconds: leave room in the pages, and let vacuum come early. The sweeper reads the table from its
-- start: it is nearly empty but after an outage, when nearly every row is wanted; an index would cost every event.
CREATE TABLE outbox (
    event_id uuid PRIMARY KEY,
    leased_until timestamptz NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

CREATE TABLE inbox (
    program_id uuid NOT NULL,
    source text NOT NULL,
    event_id text NOT NULL,
    body_sha256 bytea NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (program_id, source, event_id)
);
