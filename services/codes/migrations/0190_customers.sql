-- Of a customer whom a code is made for, codes keeps its id and name, in the code and in the audit log.
-- Published, version 1: redemption gathers the parts by them.
CREATE VIEW customer_parts_v1 AS SELECT job_id, counts, started_at, done_at FROM customer_parts;
CREATE VIEW customer_lines_v1 AS SELECT job_id, nth, line FROM customer_lines;
GRANT SELECT, INSERT, UPDATE, DELETE ON customer_parts, customer_lines TO mintwire_codes;
GRANT SELECT ON customer_parts_v1, customer_lines_v1 TO mintwire_redemption;

-- The log is append-only; the one thing that can change in it is who a customer was.
CREATE FUNCTION erase_audit_log(entry_ids uuid[], new_changes jsonb[]) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = codes, pg_temp
BEGIN ATOMIC
    WITH erased AS (
        UPDATE audit_log a SET changes = n.changes
        FROM unnest(entry_ids, new_changes) AS n (id, changes)
        WHERE a.id = ANY (entry_ids) AND a.id = n.id
          -- Members that are not a customer's stay as they were.
          AND a.changes - ARRAY['customer_id', 'customer_name', 'metadata']
              = n.changes - ARRAY['customer_id', 'customer_name', 'metadata']
        RETURNING 1
    )
    SELECT count(*)::integer FROM erased;
END;
REVOKE ALL ON FUNCTION erase_audit_log(uuid[], jsonb[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_audit_log(uuid[], jsonb[]) TO mintwire_codes;
