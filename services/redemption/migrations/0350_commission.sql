-- What partners earn, as a ledger: a line for each movement of a redemption's commission, written in the transaction that
-- decides it (ADR 18). `accounted_minor` is the sum of a redemption's lines, so what a process of the release before
-- has changed is found by comparing; null until it has one.
ALTER TABLE redemptions ADD COLUMN accounted_minor bigint;
GRANT UPDATE (accounted_minor) ON redemptions TO mintwire_redemption;

-- A line is booked once, to the statement that it counts in, and otherwise never changes. The currency of a redemption
-- without one is the empty text.
CREATE TABLE commission_lines (
    id bigint GENERATED ALWAYS AS IDENTITY,
    program_id uuid NOT NULL,
    partner_id uuid NOT NULL,
    redemption_id uuid NOT NULL,
    kind text NOT NULL,
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    at timestamptz NOT NULL,
    statement_id uuid
);
CREATE INDEX commission_lines_unbooked ON commission_lines (program_id, partner_id) WHERE statement_id IS NULL;
CREATE INDEX commission_lines_statement ON commission_lines (statement_id, at, id) WHERE statement_id IS NOT NULL;

-- Sums of the booked lines. Not yet closed ones are of `open_month` of their program, or of later months.
CREATE TABLE commission_statements (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL,
    partner_id uuid NOT NULL,
    month date NOT NULL,
    currency text NOT NULL,
    redemptions bigint NOT NULL,
    redemptions_minor bigint NOT NULL,
    reversals bigint NOT NULL,
    reversals_minor bigint NOT NULL,
    adjustments bigint NOT NULL,
    adjustments_minor bigint NOT NULL,
    zone text,
    closed_at timestamptz,
    CHECK ((zone IS NULL) = (closed_at IS NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX commission_statements_program
    ON commission_statements (program_id, month, partner_id, currency);
CREATE UNIQUE INDEX commission_statements_partner ON commission_statements (partner_id, month, currency);
CREATE INDEX commission_statements_open ON commission_statements (program_id, month) WHERE closed_at IS NULL;

CREATE FUNCTION keep_commission_statement() RETURNS trigger
LANGUAGE plpgsql SET search_path = redemption, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'A closed statement does not change.';
END;
$$;
CREATE TRIGGER keep_commission_statement BEFORE UPDATE ON commission_statements
    FOR EACH ROW WHEN (OLD.closed_at IS NOT NULL) EXECUTE FUNCTION keep_commission_statement();

-- Whoever books lines of a program holds its row. Months before `open_month` are closed; `closes_at` is when that one can be.
CREATE TABLE commission_months (
    program_id uuid PRIMARY KEY,
    open_month date NOT NULL DEFAULT '1970-01-01',
    zone text NOT NULL DEFAULT 'UTC',
    closes_at timestamptz NOT NULL DEFAULT 'epoch',
    booked_at timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 50);
CREATE INDEX commission_months_closes_at ON commission_months (closes_at);

CREATE FUNCTION commission_statement_id(partner_id uuid, month date, currency text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN overlay(overlay(md5(partner_id::text || ' ' || (month - date '1970-01-01')::text || ' ' || currency)
                       PLACING '8' FROM 13) PLACING '8' FROM 17)::uuid;

-- Lines that are not booked yet, with the statement that they count in; nobody but the booking moves them (`place`).
CREATE VIEW commission_open_lines AS
SELECT l.ctid AS place, l.id, l.program_id, l.partner_id, l.redemption_id, l.kind, l.amount_minor, l.currency, l.at, n.month,
       commission_statement_id(l.partner_id, n.month, l.currency) AS statement_id
FROM commission_lines l
LEFT JOIN commission_months m ON m.program_id = l.program_id
CROSS JOIN LATERAL (
    SELECT greatest(m.open_month, date_trunc('month', l.at AT TIME ZONE coalesce(m.zone, 'UTC'))::date) AS month) n
WHERE l.statement_id IS NULL;

-- Payments, as a record of who entered and who took back which: one of a statement counts at a time.
CREATE TABLE commission_payments (
    id uuid PRIMARY KEY,
    statement_id uuid NOT NULL,
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    reference text NOT NULL,
    paid_at timestamptz NOT NULL,
    actor text NOT NULL,
    created_at timestamptz NOT NULL,
    taken_back_at timestamptz,
    taken_back_by text,
    reason text,
    CHECK ((taken_back_at IS NULL) = (taken_back_by IS NULL)),
    CHECK ((taken_back_at IS NULL) = (reason IS NULL))
);
CREATE UNIQUE INDEX commission_payments_once ON commission_payments (statement_id) WHERE taken_back_at IS NULL;
CREATE INDEX commission_payments_statement ON commission_payments (statement_id, id);

-- Redemptions of before get their lines by walking along an index: once now, and once more when no process of the
-- release before, which writes no lines, is left. No month is closed in between.
CREATE TABLE commission_walks (
    due_at timestamptz PRIMARY KEY,
    partner_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    occurred_at timestamptz NOT NULL DEFAULT 'epoch',
    redemption_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
);
INSERT INTO commission_walks (due_at) SELECT now() + d.later FROM (VALUES (interval '0'), (interval '1 day')) AS d (later)
WHERE EXISTS (SELECT FROM redemptions);

GRANT SELECT, INSERT, UPDATE (statement_id) ON commission_lines TO mintwire_redemption;
GRANT SELECT, INSERT, UPDATE ON commission_statements, commission_months TO mintwire_redemption;
GRANT SELECT ON commission_open_lines TO mintwire_redemption;
GRANT SELECT, INSERT, UPDATE (taken_back_at, taken_back_by, reason) ON commission_payments TO mintwire_redemption;
GRANT SELECT, UPDATE, DELETE ON commission_walks TO mintwire_redemption;
