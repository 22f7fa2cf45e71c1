-- Exporting and erasing what is known of a customer. A job names the customer by its keys, in plain only while it runs; the
-- digests stay. `marked_by` is the transaction that marked the customer as erased: what is written by transactions that
-- had begun before may still name it, and is erased once they have ended.
CREATE TABLE customer_jobs (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('export', 'erase')),
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'withdrawn')),
    keys text[] NOT NULL,
    digests text[] NOT NULL,
    actor text NOT NULL,
    marked_by xid8,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    CHECK ((state = 'running') = (finished_at IS NULL)),
    CHECK (state = 'running' OR keys = '{}')
) WITH (fillfactor = 70);
CREATE INDEX customer_jobs_program ON customer_jobs (program_id, id);
CREATE INDEX customer_jobs_running ON customer_jobs (id) WHERE state = 'running';
CREATE INDEX customer_jobs_finished ON customer_jobs (finished_at) WHERE finished_at IS NOT NULL;

-- The events that a job has found to name its customer. `is_whole` says that all of the event is about the customer; else
-- another customer bought, with the mailbox of this one.
CREATE TABLE customer_events (
    job_id uuid NOT NULL,
    event_id uuid NOT NULL,
    is_whole boolean NOT NULL,
    PRIMARY KEY (job_id, event_id)
);
CREATE INDEX customer_events_event ON customer_events (event_id);

-- Until when a customer bought what is kept under its digest. It is looked up for every purchase.
CREATE TABLE erased_customers (
    program_id uuid NOT NULL,
    digest text NOT NULL,
    erased_at timestamptz NOT NULL,
    PRIMARY KEY (program_id, digest)
);

-- Published, version 1. The jobs that the other services have to do their parts of: redemption has done its own.
CREATE VIEW customer_jobs_v1 AS
SELECT j.id AS job_id, j.program_id, j.kind, j.keys, j.digests, j.actor, j.created_at
FROM customer_jobs j JOIN customer_parts p ON p.job_id = j.id
WHERE j.state = 'running' AND p.done_at IS NOT NULL;
-- The events that are about the customer of a job, with what the history has of them now.
CREATE VIEW customer_events_v1 AS
SELECT c.job_id, j.kind, c.event_id, c.is_whole, e.body
FROM customer_events c
JOIN customer_jobs j ON j.id = c.job_id
LEFT JOIN events e ON e.id = c.event_id;
-- The exports whose lines are still to be had; a customer's erasure withdraws those about it.
CREATE VIEW customer_exports_v1 AS
SELECT j.id AS job_id FROM customer_jobs j WHERE j.kind = 'export' AND j.state <> 'withdrawn';

GRANT SELECT, INSERT, UPDATE, DELETE ON customer_jobs, customer_events, customer_parts, customer_lines
    TO mintwire_redemption;
GRANT SELECT, INSERT, UPDATE ON erased_customers TO mintwire_redemption;
GRANT USAGE ON SCHEMA redemption TO mintwire_codes, mintwire_webhooks;
GRANT SELECT ON customer_jobs_v1, customer_events_v1, customer_exports_v1 TO mintwire_codes, mintwire_webhooks;

-- What is erased of a redemption and of what belongs to its order. The keys of a counter change, and so it moves.
GRANT UPDATE (customer_id, customer_key, mailbox_key, attributes) ON redemptions TO mintwire_redemption;
GRANT UPDATE (reason) ON refunds TO mintwire_redemption;
GRANT DELETE ON customer_counters TO mintwire_redemption;

-- The history is a record: the role changes no event of it but by this, and of no other type than those that name
-- a customer.
CREATE FUNCTION erase_events(event_ids uuid[], bodies bytea[]) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = redemption, pg_temp
BEGIN ATOMIC
    WITH erased AS (
        UPDATE events e SET body = n.body
        FROM unnest(event_ids, bodies) AS n (id, body)
        WHERE e.id = ANY (event_ids) AND e.id = n.id
          AND e.type IN ('code.redeemed', 'code.redemption_voided')
        RETURNING 1
    )
    SELECT count(*)::integer FROM erased;
END;
REVOKE ALL ON FUNCTION erase_events(uuid[], bytea[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_events(uuid[], bytea[]) TO mintwire_redemption;
