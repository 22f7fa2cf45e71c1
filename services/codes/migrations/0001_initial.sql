-- Programs, partners, quotas, keys, coupons and promotion codes, and the two published views.

GRANT USAGE ON SCHEMA codes TO mintwire_codes, mintwire_redemption, mintwire_webhooks;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE TABLE programs (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    currency text NOT NULL DEFAULT 'USD' CHECK (currency ~ '^[A-Z]{3}$'),
    timezone text NOT NULL DEFAULT 'UTC',
    link_url text NOT NULL,
    support_email text,
    code_length smallint NOT NULL DEFAULT 8 CHECK (code_length BETWEEN 4 AND 64),
    code_alphabet text NOT NULL DEFAULT '0123456789ABCDEF' CHECK (length(code_alphabet) BETWEEN 2 AND 64),
    code_lifetime_seconds integer NOT NULL DEFAULT 172800 CHECK (code_lifetime_seconds > 0),
    webhook_attributes text[] NOT NULL DEFAULT ARRAY['card_id', 'recipient_name', 'occasion'],
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Money is in minor units; a percentage is in hundredths of a percent, so that 12.5 % is exact.
CREATE TABLE coupons (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL REFERENCES programs,
    uuid_code text NOT NULL CHECK (uuid_code ~ '^[A-Za-z0-9_-]{1,255}$'),
    external_id text CHECK (length(external_id) BETWEEN 1 AND 255),
    name text NOT NULL,
    is_partner_coupon boolean NOT NULL DEFAULT false,
    is_active boolean NOT NULL DEFAULT true,
    discount_type text NOT NULL CHECK (discount_type IN ('percent', 'static')),
    percent_hundredths integer CHECK (percent_hundredths BETWEEN 0 AND 10000),
    amount_minor bigint CHECK (amount_minor >= 0),
    currency text CHECK (currency ~ '^[A-Z]{3}$'),
    duration_type text NOT NULL CHECK (duration_type IN ('once', 'hours', 'days', 'months', 'years', 'lifetime')),
    duration_value integer CHECK (duration_value > 0),
    starts_at timestamptz,
    expires_at timestamptz,
    redemption_limit integer CHECK (redemption_limit > 0),
    code_redemption_limit integer CHECK (code_redemption_limit > 0),
    -- What a percentage takes off at most, in the coupon's currency.
    max_discount_minor bigint CHECK (max_discount_minor >= 0),
    -- A static amount in further currencies: {"EUR": 500}, minor units.
    amounts_by_currency jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(amounts_by_currency) = 'object'),
    customer_redemption_limit integer CHECK (customer_redemption_limit > 0),
    is_first_order_only boolean NOT NULL DEFAULT false,
    minimum_minor bigint CHECK (minimum_minor >= 0),
    minimum_currency text CHECK (minimum_currency ~ '^[A-Z]{3}$'),
    -- Empty: any product will do.
    product_ids text[] NOT NULL DEFAULT '{}' CHECK (cardinality(product_ids) <= 1000),
    -- Caps on uses per day, week (from Monday) and month in the program's time zone.
    daily_redemption_limit integer CHECK (daily_redemption_limit > 0),
    weekly_redemption_limit integer CHECK (weekly_redemption_limit > 0),
    monthly_redemption_limit integer CHECK (monthly_redemption_limit > 0),
    -- What all uses together take off at most.
    budget_minor bigint CHECK (budget_minor >= 0),
    budget_currency text CHECK (budget_currency ~ '^[A-Z]{3}$'),
    -- Whether a voided redemption gives its use back.
    release_policy text NOT NULL DEFAULT 'always' CHECK (release_policy IN ('always', 'until_expiry', 'never')),
    commission_hundredths integer CHECK (commission_hundredths BETWEEN 0 AND 10000),
    times_redeemed integer NOT NULL DEFAULT 0,
    times_redeemed_version bigint NOT NULL DEFAULT 0,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    archived_at timestamptz,
    CHECK ((discount_type = 'percent') = (percent_hundredths IS NOT NULL)),
    CHECK ((discount_type = 'static') = (amount_minor IS NOT NULL)),
    CHECK (max_discount_minor IS NULL OR discount_type = 'percent' AND currency IS NOT NULL),
    CHECK ((minimum_minor IS NULL) = (minimum_currency IS NULL)),
    CHECK ((budget_minor IS NULL) = (budget_currency IS NULL)),
    CHECK ((duration_type IN ('once', 'lifetime')) = (duration_value IS NULL))
);
CREATE UNIQUE INDEX coupons_uuid_code_live ON coupons (program_id, uuid_code) WHERE archived_at IS NULL;
CREATE UNIQUE INDEX coupons_partner_coupon ON coupons (program_id) WHERE is_partner_coupon;
CREATE UNIQUE INDEX coupons_external_id_live ON coupons (program_id, external_id)
    WHERE archived_at IS NULL AND external_id IS NOT NULL;
CREATE INDEX coupons_program ON coupons (program_id, id) WHERE archived_at IS NULL;

CREATE TABLE partners (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL REFERENCES programs,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    first_name text CHECK (length(first_name) BETWEEN 1 AND 255),
    last_name text CHECK (length(last_name) BETWEEN 1 AND 255),
    email text,
    email_canonical text,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'active', 'suspended')),
    code_prefix text NOT NULL CHECK (code_prefix ~ '^[A-Z0-9]{1,32}$'),
    support_email text,
    metadata jsonb NOT NULL DEFAULT '{}',
    quota_granted bigint NOT NULL DEFAULT 0 CHECK (quota_granted >= 0),
    quota_adjusted bigint NOT NULL DEFAULT 0,
    quota_minted bigint NOT NULL DEFAULT 0 CHECK (quota_minted >= 0),
    quota_refunded bigint NOT NULL DEFAULT 0 CHECK (quota_refunded >= 0),
    -- `quota.low` is said when a mint leaves this many codes or fewer for the first time; null: never.
    quota_low_threshold bigint CHECK (quota_low_threshold >= 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    archived_at timestamptz,
    CONSTRAINT partners_quota_not_negative CHECK (quota_granted + quota_adjusted - quota_minted + quota_refunded >= 0),
    CONSTRAINT partners_refunds_within_mints CHECK (quota_refunded <= quota_minted)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX partners_email_live ON partners (program_id, email_canonical) WHERE archived_at IS NULL;
CREATE UNIQUE INDEX partners_prefix_live ON partners (program_id, code_prefix) WHERE archived_at IS NULL;
CREATE INDEX partners_program ON partners (program_id, id);

-- Append-only; the sums by kind equal the four columns of the partner, row by row in the same transactions.
CREATE TABLE quota_ledger (
    id uuid NOT NULL,
    partner_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('grant', 'adjustment', 'mint', 'refund')),
    amount bigint NOT NULL,
    code_ids uuid[] NOT NULL DEFAULT '{}',
    actor text NOT NULL,
    reason text,
    created_at timestamptz NOT NULL,
    CHECK (amount <> 0 AND (kind = 'adjustment' OR amount > 0)),
    CHECK (kind <> 'mint' OR amount = cardinality(code_ids)),
    PRIMARY KEY (partner_id, id)
);

-- `slot` lets at most two keys of one owner and purpose be alive, whoever asks at the same moment.
CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL REFERENCES programs,
    partner_id uuid REFERENCES partners,
    kind text NOT NULL CHECK (kind IN ('secret', 'publishable')),
    purpose text NOT NULL DEFAULT 'default' CHECK (length(purpose) BETWEEN 1 AND 100),
    slot smallint NOT NULL CHECK (slot IN (1, 2)),
    name text,
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    digest bytea NOT NULL CHECK (length(digest) = 32),
    rate_limit_per_minute integer CHECK (rate_limit_per_minute > 0),
    window_started_at timestamptz NOT NULL DEFAULT '-infinity',
    window_used integer NOT NULL DEFAULT 0 CHECK (window_used >= 0),
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX api_keys_two_alive ON api_keys (coalesce(partner_id, program_id), kind, purpose, slot)
    WHERE revoked_at IS NULL;
CREATE INDEX api_keys_owner ON api_keys (program_id, partner_id, id);

-- No foreign keys here and in the ledger: the statements take the ids from rows that they lock or have just read, no
-- role may delete a coupon or a partner, and checking them again is a fifth of what a mint costs the database.
CREATE TABLE promotion_codes (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL,
    coupon_id uuid NOT NULL,
    partner_id uuid,
    code text NOT NULL,
    canonical text NOT NULL CHECK (canonical <> ''),
    external_id text CHECK (length(external_id) BETWEEN 1 AND 255),
    is_active boolean NOT NULL DEFAULT true,
    is_auto_generated boolean NOT NULL DEFAULT false,
    starts_at timestamptz,
    expires_at timestamptz,
    redemption_limit integer CHECK (redemption_limit > 0),
    is_first_order_only boolean NOT NULL DEFAULT false,
    minimum_minor bigint CHECK (minimum_minor >= 0),
    minimum_currency text CHECK (minimum_currency ~ '^[A-Z]{3}$'),
    -- The one customer who may use it, where it is limited to one; the name is for people.
    is_limited_to_customer boolean NOT NULL DEFAULT false,
    customer_id text CHECK (length(customer_id) BETWEEN 1 AND 255),
    customer_name text CHECK (length(customer_name) BETWEEN 1 AND 255),
    -- Only the partner that it belongs to may use it, known by id or e-mail.
    is_limited_to_partner boolean NOT NULL DEFAULT false,
    commission_hundredths integer CHECK (commission_hundredths BETWEEN 0 AND 10000),
    -- The job that made it, if one did.
    batch_id uuid,
    metadata jsonb NOT NULL DEFAULT '{}',
    times_redeemed integer NOT NULL DEFAULT 0,
    times_redeemed_version bigint NOT NULL DEFAULT 0,
    last_redeemed_at timestamptz,
    created_by_key_id uuid,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    archived_at timestamptz,
    CHECK ((minimum_minor IS NULL) = (minimum_currency IS NULL)),
    CHECK (NOT is_limited_to_customer OR customer_id IS NOT NULL)
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX promotion_codes_live ON promotion_codes (program_id, canonical) WHERE archived_at IS NULL;
CREATE INDEX promotion_codes_archived ON promotion_codes (program_id, canonical) WHERE archived_at IS NOT NULL;
-- Lists go by these, newest first; a partner's list is made of those of its coupons, of which it has few. A mint adds its
-- row at the right end of the first three, about a hundredth of what it costs each, however many codes there are; a
-- minted code is in none of the last two.
CREATE INDEX promotion_codes_program ON promotion_codes (program_id, id) WHERE archived_at IS NULL;
CREATE INDEX promotion_codes_coupon ON promotion_codes (coupon_id, id) WHERE archived_at IS NULL;
CREATE INDEX promotion_codes_partner ON promotion_codes (partner_id, coupon_id, id)
    WHERE archived_at IS NULL AND partner_id IS NOT NULL;
CREATE UNIQUE INDEX promotion_codes_external_id_live ON promotion_codes (program_id, external_id)
    WHERE archived_at IS NULL AND external_id IS NOT NULL;
CREATE INDEX promotion_codes_customer ON promotion_codes (program_id, customer_id, id)
    WHERE archived_at IS NULL AND customer_id IS NOT NULL;

-- An answer is stored in the transaction of what it reports; one with a secret in it is stored encrypted.
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

-- Published, version 1: everything that a decision about a code needs.
CREATE VIEW redeemable_v1 AS
SELECT
    c.id AS code_id,
    c.program_id,
    c.partner_id,
    c.coupon_id,
    c.code,
    c.canonical,
    c.is_active AS code_is_active,
    c.starts_at AS code_starts_at,
    c.expires_at AS code_expires_at,
    coalesce(c.redemption_limit, k.code_redemption_limit) AS code_redemption_limit,
    c.created_at AS code_created_at,
    c.archived_at AS code_archived_at,
    k.uuid_code AS coupon_uuid_code,
    k.name AS coupon_name,
    k.is_active AS coupon_is_active,
    k.discount_type,
    k.percent_hundredths,
    k.amount_minor,
    k.currency,
    k.duration_type,
    k.duration_value,
    k.starts_at AS coupon_starts_at,
    k.expires_at AS coupon_expires_at,
    k.redemption_limit AS coupon_redemption_limit,
    k.archived_at AS coupon_archived_at,
    c.is_first_order_only AS code_is_first_order_only,
    c.minimum_minor AS code_minimum_minor,
    c.minimum_currency AS code_minimum_currency,
    c.is_limited_to_customer,
    c.customer_id,
    c.is_limited_to_partner,
    c.commission_hundredths AS code_commission_hundredths,
    k.max_discount_minor,
    k.amounts_by_currency,
    k.customer_redemption_limit,
    k.is_first_order_only AS coupon_is_first_order_only,
    k.minimum_minor AS coupon_minimum_minor,
    k.minimum_currency AS coupon_minimum_currency,
    k.product_ids,
    k.daily_redemption_limit,
    k.weekly_redemption_limit,
    k.monthly_redemption_limit,
    k.budget_minor,
    k.budget_currency,
    k.release_policy,
    k.commission_hundredths AS coupon_commission_hundredths,
    p.name AS partner_name,
    p.email_canonical AS partner_email_canonical,
    p.status AS partner_status,
    p.quota_granted + p.quota_adjusted - p.quota_minted + p.quota_refunded AS quota_remaining,
    g.name AS program_name,
    g.currency AS program_currency,
    g.timezone AS program_timezone,
    g.webhook_attributes
FROM promotion_codes c
JOIN coupons k ON k.id = c.coupon_id
JOIN programs g ON g.id = c.program_id
LEFT JOIN partners p ON p.id = c.partner_id;

-- Published, version 1: an API key and its owner, enough to admit or refuse a request.
CREATE VIEW credential_v1 AS
SELECT
    a.id AS key_id,
    a.digest,
    a.kind,
    a.scopes,
    a.rate_limit_per_minute,
    a.program_id,
    g.name AS program_name,
    a.partner_id,
    p.name AS partner_name,
    p.status AS partner_status,
    a.revoked_at
FROM api_keys a
JOIN programs g ON g.id = a.program_id
LEFT JOIN partners p ON p.id = a.partner_id;

GRANT SELECT ON redeemable_v1, credential_v1 TO mintwire_redemption, mintwire_webhooks, mintwire_codes;
GRANT SELECT, INSERT, UPDATE ON programs, coupons, partners, api_keys, promotion_codes TO mintwire_codes;
GRANT SELECT, INSERT ON quota_ledger TO mintwire_codes;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO mintwire_codes;
GRANT SELECT, INSERT ON events, inbox TO mintwire_codes;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO mintwire_codes;
