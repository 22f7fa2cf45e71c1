-- Statistics: what was redeemed, voided and refused, in quarters of an hour of UTC, so that the days of every time zone
-- are whole. A transaction that writes a fact names its quarter in `stats_touched`; a periodic task counts these again
-- from the facts. It only appends: nobody waits for a lock, and what is named twice is counted once.
CREATE TABLE stats_touched (
    kind text NOT NULL,
    program_id uuid NOT NULL,
    quarter timestamptz NOT NULL
);
CREATE INDEX stats_touched_quarter ON stats_touched (kind, program_id, quarter);

-- Whoever counts holds the row of its kind. What is older than `sealed_before` is never counted again: its facts may be gone.
CREATE TABLE stats_kinds (
    kind text PRIMARY KEY,
    recounted_at timestamptz,
    sealed_before timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 50);
INSERT INTO stats_kinds (kind) VALUES ('redemptions'), ('rejections');

-- What there is already is found by walking along an index, from here: once now, and once more when no process of the
-- release before, which names no quarters, writes any longer.
CREATE TABLE stats_walks (
    name text NOT NULL,
    due_at timestamptz NOT NULL,
    kind text NOT NULL,
    program_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    walked_to timestamptz NOT NULL DEFAULT 'epoch',
    PRIMARY KEY (name, due_at)
);
INSERT INTO stats_walks (name, due_at, kind)
SELECT w.name, now() + d.later, w.kind
FROM (VALUES ('redemptions', 'redemptions'), ('voids', 'redemptions'), ('rejections', 'rejections')) AS w (name, kind)
CROSS JOIN (VALUES (interval '0'), (interval '1 day')) AS d (later);

ALTER TABLE rejections ADD COLUMN coupon_id uuid;

-- What is counted, and where. A void counts in the quarter in which it happened, with what it takes back as it is now.
CREATE VIEW stats_facts AS
SELECT 'redemptions' AS kind, program_id, occurred_at AS at, partner_id, coupon_id, currency, NULL::text AS reason,
       1::bigint AS redemptions, discount_minor, commission_minor,
       0::bigint AS voids, NULL::bigint AS voided_discount_minor, NULL::bigint AS voided_commission_minor,
       0::bigint AS refusals
FROM redemptions
UNION ALL
SELECT 'redemptions', program_id, voided_at, partner_id, coupon_id, currency, NULL,
       0, NULL, NULL, 1, discount_minor, commission_minor, 0
FROM redemptions WHERE voided_at IS NOT NULL
UNION ALL
SELECT 'rejections', program_id, occurred_at, partner_id, coupon_id, NULL, reason, 0, NULL, NULL, 0, NULL, NULL, times
FROM rejections;

-- `slice` says by what a row is apart: 1 the coupon, 2 the partner, 4 the reason, and their sums. So a total reads no more
-- rows than there are quarters, however many partners and coupons there are.
CREATE TABLE stats (
    kind text NOT NULL,
    program_id uuid NOT NULL,
    quarter timestamptz NOT NULL,
    slice smallint NOT NULL,
    partner_id uuid,
    coupon_id uuid,
    currency text,
    reason text,
    redemptions bigint NOT NULL,
    discount_minor bigint NOT NULL,
    commission_minor bigint NOT NULL,
    voids bigint NOT NULL,
    voided_discount_minor bigint NOT NULL,
    voided_commission_minor bigint NOT NULL,
    refusals bigint NOT NULL
);
CREATE INDEX stats_quarter ON stats (program_id, slice, quarter);
CREATE INDEX stats_partner ON stats (program_id, partner_id, slice, quarter) WHERE partner_id IS NOT NULL;
CREATE INDEX stats_coupon ON stats (program_id, coupon_id, slice, quarter) WHERE coupon_id IS NOT NULL;

GRANT SELECT ON stats_facts TO mintwire_redemption;
GRANT SELECT, INSERT, DELETE ON stats, stats_touched TO mintwire_redemption;
GRANT SELECT, UPDATE ON stats_kinds TO mintwire_redemption;
GRANT SELECT, UPDATE, DELETE ON stats_walks TO mintwire_redemption;
