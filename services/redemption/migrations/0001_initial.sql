-- Orders with their reservations, use counters, redemptions, refunds and refusals.

GRANT USAGE ON SCHEMA redemption TO mintwire_redemption;

-- Locked first by everything about an order. A row is made before the first redemption of its order, in the same
-- transaction, and outlives it: whoever makes the row knows that the order has no redemptions yet. A cancellation leaves
-- its time here for purchases that are heard of later; a reservation is named here and has its codes in `holds`.
CREATE TABLE orders (
    program_id uuid NOT NULL,
    order_ref text NOT NULL,
    created_at timestamptz NOT NULL,
    cancelled_at timestamptz,
    cancel_reason text,
    has_refunds boolean NOT NULL DEFAULT false,
    reservation_id uuid,
    reserved_at timestamptz,
    reserved_until timestamptz,
    PRIMARY KEY (program_id, order_ref),
    CHECK ((reservation_id IS NULL) = (reserved_until IS NULL)),
    CHECK ((reserved_at IS NULL) = (reserved_until IS NULL))
);
CREATE UNIQUE INDEX orders_reservation ON orders (reservation_id) WHERE reservation_id IS NOT NULL;
CREATE INDEX orders_reserved_until ON orders (reserved_until) WHERE reserved_until IS NOT NULL;

-- One row per code that was ever asked for. `use_limit` is the limit as the last counted use saw it: the second guard.
-- Until `held_until` there may be holds on the code; later there are none that live.
CREATE TABLE code_counters (
    code_id uuid PRIMARY KEY,
    uses integer NOT NULL DEFAULT 0 CHECK (uses >= 0),
    version bigint NOT NULL DEFAULT 0,
    use_limit integer,
    held_until timestamptz,
    CONSTRAINT code_counters_within_limit CHECK (uses <= use_limit)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);

-- One row per coupon that ever had a limit, a cap per period or a budget; a coupon without one is not counted here,
-- since its row would be locked by every purchase of its program. `uses` is null until the first decision under the
-- limit has counted the redemptions, `spent_minor` until the first under a budget. Once `has_periods`, all its periods
-- are counted, so that a cap that is taken away and set again has missed nothing.
CREATE TABLE coupon_counters (
    coupon_id uuid PRIMARY KEY,
    uses integer CHECK (uses >= 0),
    version bigint NOT NULL DEFAULT 0,
    use_limit integer,
    held_until timestamptz,
    has_periods boolean NOT NULL DEFAULT false,
    spent_minor bigint CHECK (spent_minor >= 0),
    spent_currency text,
    spend_limit bigint,
    CONSTRAINT coupon_counters_within_limit CHECK (uses <= use_limit),
    CONSTRAINT coupon_counters_within_budget CHECK (spent_minor <= spend_limit),
    CHECK ((spent_minor IS NULL) = (spent_currency IS NULL))
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);

-- Behind the lock on its coupon's row. A period is named by its start, as the program's time zone has it.
CREATE TABLE period_counters (
    coupon_id uuid NOT NULL,
    period text NOT NULL CHECK (period IN ('day', 'week', 'month')),
    starts_at timestamptz NOT NULL,
    uses integer NOT NULL CHECK (uses >= 0),
    use_limit integer,
    PRIMARY KEY (coupon_id, period, starts_at),
    CONSTRAINT period_counters_within_limit CHECK (uses <= use_limit)
) WITH (fillfactor = 60);

-- The lock on a customer's uses of a coupon with a limit per customer. What counts is counted from the redemptions under
-- that lock, since a customer has few; `uses` is what the last counted use found, for the second guard.
CREATE TABLE customer_counters (
    coupon_id uuid NOT NULL,
    customer_key text NOT NULL,
    uses integer NOT NULL DEFAULT 0 CHECK (uses >= 0),
    use_limit integer,
    held_until timestamptz,
    PRIMARY KEY (coupon_id, customer_key),
    CONSTRAINT customer_counters_within_limit CHECK (uses <= use_limit)
) WITH (fillfactor = 60);

-- Of what stands one per order and string: the same order and code again is the same purchase, even if the string
-- belongs to another code by then. What is voided stays beside what the order may redeem later. `is_counted` says whether
-- a use is taken up, which is not the case if it was given back.
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
    customer_key text,
    discount_type text NOT NULL,
    percent_hundredths integer,
    amount_minor bigint,
    discount_minor bigint,
    currency text,
    subtotal_minor bigint,
    commission_hundredths integer,
    commission_minor bigint,
    discount_ends_at timestamptz,
    release_policy text NOT NULL,
    release_until timestamptz,
    occurred_at timestamptz NOT NULL,
    confirmed_at timestamptz NOT NULL,
    is_counted boolean NOT NULL,
    voided_at timestamptz,
    void_reason text,
    terms json NOT NULL,
    decided_at timestamptz NOT NULL,
    CONSTRAINT redemptions_once_per_order UNIQUE NULLS NOT DISTINCT (program_id, order_ref, canonical, voided_at),
    CHECK (is_counted OR voided_at IS NOT NULL)
);
CREATE INDEX redemptions_coupon ON redemptions (coupon_id, occurred_at, id);
CREATE INDEX redemptions_customer ON redemptions (coupon_id, customer_key) WHERE customer_key IS NOT NULL;
CREATE INDEX redemptions_program ON redemptions (program_id, occurred_at, id);
CREATE INDEX redemptions_code ON redemptions (code_id);
CREATE INDEX redemptions_partner ON redemptions (partner_id, occurred_at, id) WHERE partner_id IS NOT NULL;
CREATE INDEX redemptions_voided ON redemptions (program_id, occurred_at, id) WHERE voided_at IS NOT NULL;

-- The codes of reservations; one lives until its order's `reserved_until`, which each row repeats.
CREATE TABLE holds (
    program_id uuid NOT NULL,
    order_ref text NOT NULL,
    canonical text NOT NULL,
    code text NOT NULL,
    code_id uuid NOT NULL,
    coupon_id uuid NOT NULL,
    customer_key text,
    discount_minor bigint,
    currency text,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (program_id, order_ref, canonical)
);
CREATE INDEX holds_code ON holds (code_id, expires_at);
CREATE INDEX holds_coupon ON holds (coupon_id, expires_at);

-- Parts of what was paid that went back; together they may take the order back.
CREATE TABLE refunds (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL,
    order_ref text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    reason text,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL
);
CREATE INDEX refunds_order ON refunds (program_id, order_ref);

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

-- An answer is stored in the transaction of what it reports.
CREATE TABLE idempotency_keys (
    owner_id uuid NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    request_sha256 bytea NOT NULL,
    status smallint NOT NULL,
    body bytea NOT NULL,
    is_encrypted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (owner_id, route, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

GRANT SELECT, INSERT, UPDATE ON orders, code_counters, coupon_counters, period_counters, customer_counters
    TO mintwire_redemption;
-- Of a redemption only what becomes of it can change.
GRANT SELECT, INSERT, UPDATE (confirmed_at, is_counted, voided_at, void_reason) ON redemptions TO mintwire_redemption;
GRANT SELECT, INSERT ON refunds, rejections, events, inbox TO mintwire_redemption;
GRANT SELECT, INSERT, UPDATE, DELETE ON holds, idempotency_keys, outbox TO mintwire_redemption;
