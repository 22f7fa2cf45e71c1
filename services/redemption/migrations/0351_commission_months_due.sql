-- Programs whose month can be closed, one after the other, also where very many are due at one time.
CREATE INDEX commission_months_due ON commission_months (closes_at, program_id);
DROP INDEX commission_months_closes_at;
