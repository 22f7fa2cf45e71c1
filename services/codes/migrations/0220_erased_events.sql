-- Coupons say in events what is noted of them, which may be a customer: these too lose it, and keep their ids.
CREATE TABLE erased_events (event_id uuid PRIMARY KEY);

-- Published, version 1: an event of these may come with another body than before.
CREATE VIEW erased_events_v1 AS SELECT event_id FROM erased_events;
GRANT SELECT ON erased_events_v1 TO mintwire_codes, mintwire_redemption, mintwire_webhooks;

-- The history is a record: the role changes no event of it but by this, and of no other type than those.
CREATE FUNCTION erase_events(event_ids uuid[], bodies bytea[]) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = codes, pg_temp
BEGIN ATOMIC
    WITH erased AS (
        UPDATE events e SET body = n.body
        FROM unnest(event_ids, bodies) AS n (id, body)
        WHERE e.id = ANY (event_ids) AND e.id = n.id AND e.type IN ('coupon.created', 'coupon.updated')
        RETURNING e.id
    ), noted AS (
        INSERT INTO erased_events SELECT id FROM erased ON CONFLICT DO NOTHING
    )
    SELECT count(*)::integer FROM erased;
END;
REVOKE ALL ON FUNCTION erase_events(uuid[], bytea[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_events(uuid[], bytea[]) TO mintwire_codes;

-- What a job was asked for may hold a customer at any place of it.
CREATE OR REPLACE FUNCTION erase_audit_log(entry_ids uuid[], new_changes jsonb[]) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = codes, pg_temp
BEGIN ATOMIC
    WITH erased AS (
        UPDATE audit_log a SET changes = n.changes
        FROM unnest(entry_ids, new_changes) AS n (id, changes)
        WHERE a.id = ANY (entry_ids) AND a.id = n.id
          -- Members that are not a customer's stay as they were.
          AND a.changes - ARRAY['customer_id', 'customer_name', 'metadata', 'spec']
              = n.changes - ARRAY['customer_id', 'customer_name', 'metadata', 'spec']
        RETURNING 1
    )
    SELECT count(*)::integer FROM erased;
END;
