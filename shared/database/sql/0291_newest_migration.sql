-- Which migration of the service came last: its role cannot read the ledger, which is everybody's.
CREATE FUNCTION newest_migration() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    SELECT name FROM public.mintwire_migrations WHERE schema_name = current_schema()
    ORDER BY applied_at DESC, name DESC LIMIT 1;
END;
REVOKE ALL ON FUNCTION newest_migration() FROM PUBLIC;
