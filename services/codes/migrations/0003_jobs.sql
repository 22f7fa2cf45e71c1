-- Durable jobs over promotion codes: batches, imports and bulk actions, run by whichever replica holds the lease.

-- `fence` grows with every claim: whoever lost the lease can write nothing more. `position` is where the work goes on;
-- it and the counters are written in the transaction of the rows that they count.
CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL REFERENCES programs,
    kind text NOT NULL CHECK (kind IN ('batch', 'import', 'bulk')),
    state text NOT NULL CHECK (state IN ('uploading', 'queued', 'running', 'done', 'failed', 'cancelled')),
    coupon_id uuid,
    -- What was asked for, each kind in its own words.
    spec jsonb NOT NULL,
    position jsonb NOT NULL DEFAULT '{}',
    -- How many pieces of work there are; null until that is known.
    requested bigint CHECK (requested >= 0),
    processed bigint NOT NULL DEFAULT 0,
    created bigint NOT NULL DEFAULT 0,
    updated bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    failure text,
    fence bigint NOT NULL DEFAULT 0,
    leased_until timestamptz,
    -- Claims since the last progress; too many end the job.
    attempts integer NOT NULL DEFAULT 0,
    worked_at timestamptz NOT NULL DEFAULT '-infinity',
    actor text NOT NULL,
    key_id uuid,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    CHECK ((state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (kind <> 'batch' OR created <= requested)
) WITH (fillfactor = 50);
CREATE INDEX jobs_program ON jobs (program_id, id);
CREATE INDEX jobs_open ON jobs (worked_at) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- An uploaded file in pieces, as it came.
CREATE TABLE job_uploads (
    job_id uuid NOT NULL,
    nth integer NOT NULL,
    -- Where the piece begins in the file, in bytes.
    starts_at bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (job_id, nth)
);
ALTER TABLE job_uploads ALTER COLUMN body SET STORAGE EXTERNAL;

-- The codes of a file that were read so far: how a code that stands in it twice is found, on whichever line.
CREATE TABLE job_lines (
    job_id uuid NOT NULL,
    canonical text NOT NULL,
    line bigint NOT NULL,
    PRIMARY KEY (job_id, canonical)
);

-- The lines of a file that were refused.
CREATE TABLE job_errors (
    job_id uuid NOT NULL,
    line bigint NOT NULL,
    code text,
    reason text NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (job_id, line)
);

CREATE INDEX promotion_codes_batch ON promotion_codes (batch_id, id) WHERE batch_id IS NOT NULL;

GRANT SELECT, INSERT, UPDATE, DELETE ON jobs, job_uploads, job_lines, job_errors TO mintwire_codes;
