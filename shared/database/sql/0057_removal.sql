-- The history of events and the inbox forget what is old. A service's role still removes no row by itself: only these
-- functions do, and they leave alone what is too young, whoever calls them and with whatever they are called. Rows go by
-- their place, and so in one order: of two callers the second finds nothing left.

-- What no broker has confirmed yet stays, however old.
CREATE FUNCTION purge_events(first_kept_at timestamptz, most integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    WITH removed AS (
        DELETE FROM events WHERE ctid = ANY (ARRAY(
            SELECT old.place
            FROM (SELECT ctid AS place, id FROM events
                  WHERE created_at < least(first_kept_at, now() - interval '1 day')
                  ORDER BY created_at LIMIT most) AS old
            WHERE NOT EXISTS (SELECT FROM outbox o WHERE o.event_id = old.id)))
        RETURNING 1
    )
    SELECT count(*)::integer FROM removed;
END;
REVOKE ALL ON FUNCTION purge_events(timestamptz, integer) FROM PUBLIC;

CREATE FUNCTION purge_inbox(first_kept_at timestamptz, most integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    WITH removed AS (
        DELETE FROM inbox WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM inbox WHERE received_at < least(first_kept_at, now() - interval '35 days')
            ORDER BY received_at LIMIT most))
        RETURNING 1
    )
    SELECT count(*)::integer FROM removed;
END;
REVOKE ALL ON FUNCTION purge_inbox(timestamptz, integer) FROM PUBLIC;
