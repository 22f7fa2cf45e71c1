-- Orders, use counters, redemptions and refusals.

GRANT USAGE ON SCHEMA redemption TO mintwire_redemption;

-- Locked first by everything about an order. A row is made before the first redemption of its order, in the same
-- transaction, and outlives it: whoever makes the row knows that the order has no redemptions yet.
CREATE TABLE orders (
    program_id uuid NOT NULL,
    order_ref text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (program_id, order_ref)
);

-- One row per code that was ever asked for. `use_limit` is the limit as the last counted use saw it: the second guard.
CREATE TABLE code_counters (
    code_id uuid PRIMARY KEY,
    uses integer NOT NULL DEFAULT 0 CHECK (uses >= 0),
    version bigint NOT NULL DEFAULT 0,
    use_limit integer,
    CONSTRAINT code_counters_within_limit CHECK (uses <= use_limit)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);

-- One row per coupon that ever had a limit; a coupon without one is not counted here, since its row would be locked by
-- every purchase of its program. `uses` is null until the first decision under the limit has counted the redemptions.
CREATE TABLE coupon_counters (
    coupon_id uuid PRIMARY KEY,
    uses integer CHECK (uses >= 0),
    version bigint NOT NULL DEFAULT 0,
    use_limit integer,
    CONSTRAINT coupon_counters_within_limit CHECK (uses <= use_limit)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);

-- Unique by the string's canonical form: the same order and code again is the same purchase, even if the string
-- belongs to another code by then.
CREATE TABLE redemptions (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL,
    order_ref text NOT NULL,
    canonical text NOT NULL,
    code text NOT NULL,
    code_id uuid NOT NULL,
    coupon_id uuid NOT NULL,
    partner_id uuid,
    customer_id text,
    discount_minor bigint,
    currency text,
    occurred_at timestamptz NOT NULL,
    decided_at timestamptz NOT NULL,
    CONSTRAINT redemptions_once_per_order UNIQUE (program_id, order_ref, canonical)
);
CREATE INDEX redemptions_coupon ON redemptions (coupon_id);

-- Why an order's codes were refused, for whoever is asked about it.
CREATE TABLE rejections (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL,
    order_ref text NOT NULL,
    code text NOT NULL,
    code_id uuid,
    reason text NOT NULL,
    detail text NOT NULL,
    source text NOT NULL,
    event_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    decided_at timestamptz NOT NULL
);
CREATE INDEX rejections_order ON rejections (program_id, order_ref);

GRANT SELECT, INSERT, UPDATE ON orders, code_counters, coupon_counters TO mintwire_redemption;
GRANT SELECT, INSERT ON redemptions, rejections, events, inbox TO mintwire_redemption;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO mintwire_redemption;
