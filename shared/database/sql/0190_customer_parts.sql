-- A service's own part of exporting or erasing a customer. `step` and `position` say how far it is; a chunk of work moves
-- them in its own transaction, under the lock of this row, so a process that dies leaves the rest to the next.
CREATE TABLE customer_parts (
    job_id uuid PRIMARY KEY,
    step smallint NOT NULL DEFAULT 0,
    position jsonb NOT NULL DEFAULT '[]',
    -- What was found or erased, by kind.
    counts jsonb NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL,
    done_at timestamptz
) WITH (fillfactor = 70);
CREATE INDEX customer_parts_done ON customer_parts (done_at) WHERE done_at IS NOT NULL;

-- What an export has found, line by line.
CREATE TABLE customer_lines (
    job_id uuid NOT NULL,
    nth bigint NOT NULL,
    line bytea NOT NULL,
    PRIMARY KEY (job_id, nth)
);
