-- What is old goes: the history and the inbox, what was refused, and orders that came to nothing.
GRANT EXECUTE ON FUNCTION purge_events(timestamptz, integer), purge_inbox(timestamptz, integer) TO mintwire_redemption;

-- Of orders those without a redemption. `touched_at` is when a cancellation, a refund or a reservation was last written;
-- the removal judges a row once that is long ago: it goes or, having a redemption, stays for good and is null from then
-- on. What a purchase alone has made is null from the start and never looked at. Every row that is here already is looked
-- at once: the default counts for these, without a rewrite. It stays, for what the code of before inserts; the present
-- code names the column.
ALTER TABLE orders ADD COLUMN touched_at timestamptz DEFAULT now();
GRANT DELETE ON orders TO mintwire_redemption;

-- Refunds and refusals are facts: the role removes none by itself, see the history of events.
CREATE FUNCTION forget_refunds(program_ids uuid[], order_refs text[]) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = redemption, pg_temp
BEGIN ATOMIC
    WITH removed AS (
        DELETE FROM refunds f USING unnest(program_ids, order_refs) AS o (program_id, order_ref)
        WHERE f.program_id = ANY (program_ids) AND f.order_ref = ANY (order_refs)
          AND f.program_id = o.program_id AND f.order_ref = o.order_ref
          AND NOT EXISTS (SELECT FROM redemptions r WHERE r.program_id = o.program_id AND r.order_ref = o.order_ref)
        RETURNING 1
    )
    SELECT count(*)::integer FROM removed;
END;
REVOKE ALL ON FUNCTION forget_refunds(uuid[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_refunds(uuid[], text[]) TO mintwire_redemption;

CREATE FUNCTION purge_rejections(first_kept_at timestamptz, most integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = redemption, pg_temp
BEGIN ATOMIC
    WITH removed AS (
        DELETE FROM rejections WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM rejections WHERE decided_at < least(first_kept_at, now() - interval '30 days')
            ORDER BY decided_at LIMIT most))
        RETURNING 1
    )
    SELECT count(*)::integer FROM removed;
END;
REVOKE ALL ON FUNCTION purge_rejections(timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION purge_rejections(timestamptz, integer) TO mintwire_redemption;

-- Nothing has written or read it for long, the code of before neither.
ALTER TABLE customer_counters DROP COLUMN held_until;
