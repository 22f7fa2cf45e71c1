"""The tables and statements of the bare programs that decide about orders; see `bench.bare.shop`.

Tables that a decision writes have the product's columns and indexes; those of terms have what a decision reads.
"""

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS bare;
DROP TABLE IF EXISTS bare.shop_keys, bare.shop_programs, bare.shop_partners, bare.shop_coupons, bare.shop_codes,
    bare.shop_counters, bare.shop_coupon_counters, bare.shop_customers, bare.shop_orders, bare.shop_redemptions,
    bare.shop_holds, bare.shop_events, bare.shop_outbox, bare.shop_inbox, bare.shop_stats, bare.shop_answers;
CREATE TABLE bare.shop_keys (
    key_hash bytea PRIMARY KEY, id uuid NOT NULL, program_id uuid NOT NULL, scopes text[] NOT NULL,
    revoked_at timestamptz);
CREATE TABLE bare.shop_programs (
    id uuid PRIMARY KEY, max_codes int NOT NULL, commission_cap int NOT NULL, allows_self_referral boolean NOT NULL,
    attribute_names text[] NOT NULL);
CREATE TABLE bare.shop_partners (
    id uuid PRIMARY KEY, status text NOT NULL, email text, quota_granted bigint NOT NULL, quota_minted bigint NOT NULL);
CREATE TABLE bare.shop_coupons (
    id uuid PRIMARY KEY, uuid_code text NOT NULL, name text NOT NULL, is_active boolean NOT NULL,
    percent int, amount bigint, currency text, max_discount bigint, minimum bigint, use_limit int, customer_limit int,
    starts_at timestamptz, expires_at timestamptz, commission int, combination text NOT NULL,
    release_policy text NOT NULL);
CREATE TABLE bare.shop_codes (
    id uuid PRIMARY KEY, program_id uuid NOT NULL, coupon_id uuid NOT NULL, partner_id uuid, code text NOT NULL,
    canonical text NOT NULL, is_active boolean NOT NULL, starts_at timestamptz, expires_at timestamptz, use_limit int,
    created_at timestamptz NOT NULL);
CREATE UNIQUE INDEX ON bare.shop_codes (program_id, canonical);
CREATE TABLE bare.shop_counters (LIKE redemption.code_counters INCLUDING DEFAULTS INCLUDING INDEXES)
    WITH (fillfactor = 60);
CREATE TABLE bare.shop_coupon_counters (LIKE redemption.coupon_counters INCLUDING DEFAULTS INCLUDING INDEXES)
    WITH (fillfactor = 60);
CREATE TABLE bare.shop_customers (LIKE redemption.customer_counters INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_orders (LIKE redemption.orders INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_redemptions (LIKE redemption.redemptions INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_holds (LIKE redemption.holds INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_events (LIKE redemption.events INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_outbox (LIKE redemption.outbox INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_inbox (LIKE redemption.inbox INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_stats (LIKE redemption.stats_changes INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE bare.shop_answers (LIKE redemption.idempotency_keys INCLUDING DEFAULTS INCLUDING INDEXES);
"""
FIND_KEY = "SELECT id, program_id, scopes FROM bare.shop_keys WHERE key_hash = $1 AND revoked_at IS NULL"
# Orders, then codes, coupons: each inserted if it is missing and locked otherwise, in a sorted order.
LOCK = """
WITH fresh AS (
    INSERT INTO bare.shop_orders (program_id, order_ref, created_at, touched_at)
    SELECT p, ref, now(), NULL FROM unnest($1::uuid[], $2::text[]) AS o (p, ref) ORDER BY p, ref
    ON CONFLICT (program_id, order_ref) DO UPDATE SET created_at = shop_orders.created_at WHERE false
    RETURNING program_id, order_ref
), wanted AS MATERIALIZED (
    SELECT c.id, c.coupon_id, k.use_limit, k.customer_limit
    FROM unnest($3::uuid[], $4::text[]) AS w (p, canonical)
    JOIN bare.shop_codes c ON c.program_id = w.p AND c.canonical = w.canonical
    JOIN bare.shop_coupons k ON k.id = c.coupon_id
), code AS (
    INSERT INTO bare.shop_counters (code_id)
    SELECT id FROM wanted WHERE (SELECT count(*) FROM fresh) >= 0 ORDER BY id
    ON CONFLICT (code_id) DO UPDATE SET uses = shop_counters.uses WHERE false
    RETURNING code_id
), coupon AS (
    INSERT INTO bare.shop_coupon_counters (coupon_id, uses)
    SELECT DISTINCT coupon_id, 0 FROM wanted
    WHERE use_limit IS NOT NULL AND (SELECT count(*) FROM code) >= 0 ORDER BY coupon_id
    ON CONFLICT (coupon_id) DO UPDATE SET uses = shop_coupon_counters.uses WHERE false
    RETURNING coupon_id
)
SELECT program_id, order_ref, NULL::uuid AS limited_coupon_id FROM fresh
UNION ALL
SELECT DISTINCT NULL::uuid, NULL, coupon_id FROM wanted
WHERE customer_limit IS NOT NULL AND (SELECT count(*) FROM coupon) >= 0
"""
LOCK_CUSTOMERS = """
INSERT INTO bare.shop_customers (coupon_id, customer_key)
SELECT k, c FROM unnest($1::uuid[], $2::text[]) AS w (k, c) ORDER BY k, c
ON CONFLICT (coupon_id, customer_key) DO UPDATE SET uses = shop_customers.uses WHERE false
"""
READ = """
SELECT c.program_id, c.canonical, c.id AS code_id, c.code, c.coupon_id, c.partner_id, c.is_active, c.starts_at,
       c.expires_at, c.use_limit, c.created_at, k.uuid_code, k.name, k.is_active AS coupon_is_active, k.percent,
       k.amount, k.currency, k.max_discount, k.minimum, k.use_limit AS coupon_limit, k.customer_limit,
       k.starts_at AS coupon_starts_at, k.expires_at AS coupon_expires_at, k.commission, k.combination,
       k.release_policy, g.max_codes, g.commission_cap, g.allows_self_referral, g.attribute_names, p.status,
       p.email AS partner_email, p.quota_granted - p.quota_minted AS quota_remaining,
       coalesce(n.uses, 0) AS uses, coalesce(n.version, 0) AS version,
       CASE WHEN n.held_until > now() THEN (
           SELECT count(*) FROM bare.shop_holds h WHERE h.code_id = c.id AND h.expires_at > now()) ELSE 0 END AS held,
       m.uses AS coupon_uses, m.version AS coupon_version
FROM unnest($1::uuid[], $2::text[]) AS w (p, canonical)
JOIN bare.shop_codes c ON c.program_id = w.p AND c.canonical = w.canonical
JOIN bare.shop_coupons k ON k.id = c.coupon_id
JOIN bare.shop_programs g ON g.id = c.program_id
LEFT JOIN bare.shop_partners p ON p.id = c.partner_id
LEFT JOIN bare.shop_counters n ON n.code_id = c.id
LEFT JOIN bare.shop_coupon_counters m ON m.coupon_id = c.coupon_id
"""
# A customer is known by its id and by its mailbox; a use with either counts once.
COUNT_CUSTOMERS = """
SELECT w.k AS coupon_id, w.c AS customer_key, w.m AS mailbox_key, (
    SELECT count(*) FROM bare.shop_redemptions r
    WHERE r.coupon_id = w.k AND r.is_counted AND (r.customer_key IN (w.c, w.m) OR r.mailbox_key IN (w.c, w.m))) AS uses
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS w (k, c, m)
"""
READ_ORDERS = """
SELECT r.* FROM unnest($1::uuid[], $2::text[]) AS o (p, ref)
JOIN bare.shop_redemptions r ON r.program_id = o.p AND r.order_ref = o.ref
ORDER BY r.decided_at, r.canonical
"""
REDEEM = """
WITH counted AS (
    UPDATE bare.shop_counters n SET uses = c.uses, version = c.version, use_limit = c.use_limit
    FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::int[]) AS c (id, uses, version, use_limit)
    WHERE n.code_id = c.id
), counted_coupon AS (
    UPDATE bare.shop_coupon_counters n SET uses = c.uses, version = c.version, use_limit = c.use_limit
    FROM unnest($5::uuid[], $6::int[], $7::bigint[], $8::int[]) AS c (id, uses, version, use_limit)
    WHERE n.coupon_id = c.id
), event AS (
    INSERT INTO bare.shop_events (id, type, body)
    SELECT id, $9, body FROM unnest($10::uuid[], $11::bytea[]) AS e (id, body)
), pending AS (
    INSERT INTO bare.shop_outbox (event_id, leased_until)
    SELECT id, now() + interval '10 s' FROM unnest($10::uuid[]) AS e (id)
), made AS (
    INSERT INTO bare.shop_redemptions (
        id, program_id, order_ref, canonical, code, code_id, coupon_id, partner_id, customer_id, customer_key,
        mailbox_key, discount_type, percent_hundredths, amount_minor, discount_minor, currency, subtotal_minor,
        commission_hundredths, commission_minor, commission_cap_hundredths, release_policy, release_until,
        discount_ends_at, occurred_at, confirmed_at, claimed_at, clock, terms, lines,
        prices, attributes, combination, is_self_referral, is_counted,
        decided_at, is_mailbox_kept)
    SELECT r.*, true, now(), true
    FROM unnest($12::uuid[], $13::uuid[], $14::text[], $15::text[], $16::text[], $17::uuid[], $18::uuid[], $19::uuid[],
                $20::text[], $21::text[], $22::text[], $23::text[], $24::int[], $25::bigint[], $26::bigint[],
                $27::text[], $28::bigint[], $29::int[], $30::bigint[], $31::int[], $32::text[], $33::timestamptz[],
                $34::timestamptz[], $35::timestamptz[], $36::timestamptz[], $37::timestamptz[], $38::text[],
                $39::json[], $40::json[], $41::json[], $42::json[], $43::text[], $44::boolean[]) AS r
    RETURNING program_id, occurred_at, partner_id, coupon_id, currency, discount_minor, commission_minor
)
INSERT INTO bare.shop_stats (program_id, quarter, partner_id, coupon_id, currency, redemptions, discount_minor,
                             commission_minor, voids, voided_discount_minor, voided_commission_minor, refusals)
SELECT program_id, date_bin('15 minutes', occurred_at, 'epoch'), partner_id, coupon_id, currency, count(*),
       coalesce(sum(discount_minor), 0), coalesce(sum(commission_minor), 0), 0, 0, 0, 0
FROM made GROUP BY 1, 2, 3, 4, 5
"""
# In the order of the statement.
REDEMPTION = (
    *("id", "program_id", "order_ref", "canonical", "code", "code_id", "coupon_id", "partner_id", "customer_id"),
    *("customer_key", "mailbox_key", "discount_type", "percent_hundredths", "amount_minor", "discount_minor"),
    *("currency", "subtotal_minor", "commission_hundredths", "commission_minor", "commission_cap_hundredths"),
    *("release_policy", "release_until", "discount_ends_at", "occurred_at", "confirmed_at", "claimed_at", "clock"),
    *("terms", "lines", "prices", "attributes", "combination", "is_self_referral"),
)
HOLD = """
WITH held AS (
    INSERT INTO bare.shop_holds (program_id, order_ref, canonical, code, code_id, coupon_id, customer_key, mailbox_key,
                                 discount_minor, currency, lines, expires_at)
    SELECT h.* FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::text[],
                           $8::text[], $9::bigint[], $10::text[], $11::json[], $12::timestamptz[]) AS h
), reserved AS (
    UPDATE bare.shop_orders o
    SET reservation_id = u.id, reserved_at = now(), reserved_until = u.until, touched_at = now()
    FROM unnest($13::uuid[], $14::text[], $15::uuid[], $16::timestamptz[]) AS u (p, ref, id, until)
    WHERE o.program_id = u.p AND o.order_ref = u.ref
)
UPDATE bare.shop_counters n SET held_until = greatest(n.held_until, h.until)
FROM unnest($5::uuid[], $12::timestamptz[]) AS h (id, until) WHERE n.code_id = h.id
"""
HELD = (
    *("program_id", "order_ref", "canonical", "code", "code_id", "coupon_id", "customer_key", "mailbox_key"),
    *("discount_minor", "currency", "lines", "until"),
)
RELEASE = """
DELETE FROM bare.shop_holds h USING unnest($1::uuid[], $2::text[]) AS o (p, ref)
WHERE h.program_id = o.p AND h.order_ref = o.ref
"""
FIND = "SELECT id, program_id, order_ref, canonical FROM bare.shop_redemptions WHERE id = ANY ($1)"
VOID = """
WITH counted AS (
    UPDATE bare.shop_counters n SET uses = c.uses, version = c.version
    FROM unnest($1::uuid[], $2::int[], $3::bigint[]) AS c (id, uses, version) WHERE n.code_id = c.id
), counted_coupon AS (
    UPDATE bare.shop_coupon_counters n SET uses = c.uses, version = c.version
    FROM unnest($4::uuid[], $5::int[], $6::bigint[]) AS c (id, uses, version) WHERE n.coupon_id = c.id
), event AS (
    INSERT INTO bare.shop_events (id, type, body)
    SELECT id, $7, body FROM unnest($8::uuid[], $9::bytea[]) AS e (id, body)
), pending AS (
    INSERT INTO bare.shop_outbox (event_id, leased_until)
    SELECT id, now() + interval '10 s' FROM unnest($8::uuid[]) AS e (id)
), voided AS (
    UPDATE bare.shop_redemptions r
    SET voided_at = v.at, void_reason = v.reason, is_counted = v.is_counted, confirmed_at = v.at, claimed_at = v.at,
        clock = 'api', purchases = v.purchases, is_voided_alone = true
    FROM unnest($10::uuid[], $11::timestamptz[], $12::text[], $13::boolean[], $14::json[])
         AS v (id, at, reason, is_counted, purchases)
    WHERE r.id = v.id
    RETURNING r.program_id, r.voided_at, r.partner_id, r.coupon_id, r.currency, r.discount_minor, r.commission_minor
)
INSERT INTO bare.shop_stats (program_id, quarter, partner_id, coupon_id, currency, redemptions, discount_minor,
                             commission_minor, voids, voided_discount_minor, voided_commission_minor, refusals)
SELECT program_id, date_bin('15 minutes', voided_at, 'epoch'), partner_id, coupon_id, currency, 0, 0, 0, count(*),
       coalesce(sum(discount_minor), 0), coalesce(sum(commission_minor), 0), 0
FROM voided GROUP BY 1, 2, 3, 4, 5
"""
VOIDED = ("id", "voided_at", "void_reason", "is_counted", "purchases")
CLEAR = "DELETE FROM bare.shop_outbox WHERE event_id = ANY ($1)"
RECEIVE = """
INSERT INTO bare.shop_inbox (program_id, source, event_id, body_sha256, received_at)
SELECT i.*, now() FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[]) AS i ORDER BY 1, 2, 3
ON CONFLICT DO NOTHING RETURNING program_id, source, event_id
"""
TRY_KEYS = """
SELECT nth, pg_try_advisory_xact_lock(id) AS is_ours FROM unnest($1::bigint[]) WITH ORDINALITY AS k (id, nth)
"""
FIND_ANSWERS = """
SELECT w.nth, a.request_sha256, a.status, a.body
FROM unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY AS w (owner, route, key, nth)
JOIN bare.shop_answers a ON a.owner_id = w.owner AND a.route = w.route AND a.key = w.key
WHERE a.created_at > now() - interval '72 hours'
"""
KEEP_ANSWERS = """
INSERT INTO bare.shop_answers (owner_id, route, key, request_sha256, status, body, is_encrypted, created_at)
SELECT a.*, false, now() FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::smallint[], $6::bytea[]) AS a
ON CONFLICT (owner_id, route, key) DO UPDATE
SET request_sha256 = excluded.request_sha256, status = excluded.status, body = excluded.body,
    created_at = excluded.created_at
"""
