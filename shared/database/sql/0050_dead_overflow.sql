-- Dead letters that their queue has no room for. They go back as it empties, the oldest first.
CREATE TABLE dead_overflow (
    digest bytea PRIMARY KEY,
    properties bytea NOT NULL,
    foreign_headers bytea NOT NULL,
    body bytea NOT NULL,
    kept_at timestamptz NOT NULL,
    leased_until timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX dead_overflow_kept ON dead_overflow (kept_at);
