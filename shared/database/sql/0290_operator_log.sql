-- What operators did to the service through its operators' API. Append-only: the service's role can neither change nor
-- remove a row; what is old goes by the function alone, which keeps the last ninety days whatever it is called with.
CREATE TABLE operator_log (
    id uuid PRIMARY KEY,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    justification text,
    details jsonb NOT NULL CHECK (jsonb_typeof(details) = 'object'),
    created_at timestamptz NOT NULL
);

CREATE FUNCTION purge_operator_log(first_kept_id uuid, first_kept_at timestamptz, most integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    WITH removed AS (
        DELETE FROM operator_log WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM operator_log
            WHERE id < first_kept_id AND created_at < least(first_kept_at, now() - interval '90 days')
            ORDER BY id LIMIT most))
        RETURNING 1
    )
    SELECT count(*)::integer FROM removed;
END;
REVOKE ALL ON FUNCTION purge_operator_log(uuid, timestamptz, integer) FROM PUBLIC;
