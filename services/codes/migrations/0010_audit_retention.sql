-- The audit log forgets what is old. The service's role still removes no row by itself: only this function does, and it
-- leaves alone whatever is younger than ninety days, whoever calls it and with whatever it is called.

CREATE FUNCTION purge_audit_log(first_kept_id uuid, first_kept_at timestamptz, most integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = codes, pg_temp
BEGIN ATOMIC
    WITH old AS (
        SELECT id FROM audit_log
        WHERE id < first_kept_id AND created_at < least(first_kept_at, now() - interval '90 days')
        ORDER BY id LIMIT most FOR UPDATE SKIP LOCKED
    ), removed AS (
        DELETE FROM audit_log a USING old WHERE a.id = old.id RETURNING 1
    )
    SELECT count(*)::integer FROM removed;
END;
REVOKE ALL ON FUNCTION purge_audit_log(uuid, timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION purge_audit_log(uuid, timestamptz, integer) TO mintwire_codes;
