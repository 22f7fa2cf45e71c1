-- The audit log: who changed what, from and to. Append-only: the service's role can neither change nor remove a row.

CREATE TABLE audit_log (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    object_type text NOT NULL
        CHECK (object_type IN ('program', 'partner', 'key', 'quota', 'coupon', 'promotion_code', 'job')),
    object_id uuid NOT NULL,
    -- {"name": {"from": "Spring", "to": "Summer"}}; what was made has no "from".
    changes jsonb NOT NULL CHECK (jsonb_typeof(changes) = 'object'),
    created_at timestamptz NOT NULL
);
CREATE INDEX audit_log_program ON audit_log (program_id, id);
CREATE INDEX audit_log_object ON audit_log (object_id, id);
CREATE INDEX audit_log_actor ON audit_log (actor, id);

GRANT SELECT, INSERT ON audit_log TO mintwire_codes;
