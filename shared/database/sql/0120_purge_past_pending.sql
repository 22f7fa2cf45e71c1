-- What no broker has confirmed yet stays, and is passed over: counted among what may go at once, a single old event would
-- leave each round of the removal with one incomplete chunk, and a thousand would leave it with nothing to do. The pending
-- ones are asked for one by one along their index, not by NOT EXISTS.
CREATE OR REPLACE FUNCTION purge_events(first_kept_at timestamptz, most integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    WITH removed AS (
        DELETE FROM events WHERE ctid = ANY (ARRAY(
            SELECT e.ctid FROM events e
            WHERE e.created_at < least(first_kept_at, now() - interval '1 day')
              AND (SELECT true FROM outbox o WHERE o.event_id = e.id) IS NULL
            ORDER BY e.created_at LIMIT most))
        RETURNING 1
    )
    SELECT count(*)::integer FROM removed;
END;
