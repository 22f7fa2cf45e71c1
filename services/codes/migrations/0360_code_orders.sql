-- Orders of codes: a partner asks for more quota, its program decides. A granted one is a row of the quota ledger, which
-- names it.
CREATE TABLE code_orders (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL REFERENCES programs,
    partner_id uuid NOT NULL REFERENCES partners,
    count integer NOT NULL CHECK (count BETWEEN 1 AND 1000000),
    -- The partner's own name for it; one order each, whatever became of it.
    reference text CHECK (length(reference) BETWEEN 1 AND 255),
    note text CHECK (length(note) BETWEEN 1 AND 1000),
    -- Granted when it is paid, and not by the program's approval.
    must_be_paid boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'approved', 'refused', 'paid', 'cancelled')),
    is_pending boolean NOT NULL GENERATED ALWAYS AS (state = 'pending') STORED,
    reason text CHECK (length(reason) BETWEEN 1 AND 1000),
    placed_by text NOT NULL,
    decided_by text,
    created_at timestamptz NOT NULL,
    decided_at timestamptz,
    CHECK ((decided_at IS NULL) = (state = 'pending') AND (decided_by IS NULL) = (state = 'pending')),
    CHECK ((reason IS NOT NULL) = (state = 'refused')),
    CHECK (NOT (must_be_paid AND state = 'approved'))
);
-- Lists show what is pending first, then the newest.
CREATE INDEX code_orders_program ON code_orders (program_id, is_pending, id);
CREATE INDEX code_orders_partner ON code_orders (partner_id, is_pending, id);
CREATE INDEX code_orders_named ON code_orders (program_id, reference, is_pending, id) WHERE reference IS NOT NULL;
CREATE UNIQUE INDEX code_orders_reference ON code_orders (partner_id, reference) WHERE reference IS NOT NULL;
-- The ones that are removed after a time.
CREATE INDEX code_orders_ended ON code_orders (decided_at) WHERE state IN ('refused', 'cancelled');

GRANT SELECT, INSERT, UPDATE, DELETE ON code_orders TO mintwire_codes;

ALTER TABLE quota_ledger ADD COLUMN code_order_id uuid;

-- The old entries pass the narrower check, so nothing has to be looked at under the lock; 0362 does that.
ALTER TABLE audit_log DROP CONSTRAINT audit_log_object_type_check;
ALTER TABLE audit_log ADD CONSTRAINT audit_log_object_type_check
    CHECK (object_type IN ('program', 'partner', 'key', 'quota', 'coupon', 'promotion_code', 'job', 'code_order'))
    NOT VALID;
