-- The audit log's entry of a bulk action names the customer whose codes it was for.
CREATE OR REPLACE FUNCTION erase_audit_log(entry_ids uuid[], new_changes jsonb[]) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = codes, pg_temp
BEGIN ATOMIC
    WITH erased AS (
        UPDATE audit_log a SET changes = n.changes
        FROM unnest(entry_ids, new_changes) AS n (id, changes)
        WHERE a.id = ANY (entry_ids) AND a.id = n.id
          -- Members that are not a customer's stay as they were.
          AND (a.changes - ARRAY['customer_id', 'customer_name', 'metadata']) #- '{spec,to,selection,customer_id}'
              = (n.changes - ARRAY['customer_id', 'customer_name', 'metadata']) #- '{spec,to,selection,customer_id}'
        RETURNING 1
    )
    SELECT count(*)::integer FROM erased;
END;
