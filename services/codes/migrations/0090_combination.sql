-- What an order's codes may do together. Coupons that are here already may be combined as before; who makes a new one says
-- otherwise. A share is in hundredths of a percent. Shapes are checked where they come in.
ALTER TABLE programs
    ADD COLUMN max_codes_per_order smallint NOT NULL DEFAULT 10,
    ADD COLUMN commission_cap_hundredths integer NOT NULL DEFAULT 10000;
ALTER TABLE coupons
    ADD COLUMN combination text NOT NULL DEFAULT 'any',
    ADD COLUMN minimum_applies_to text NOT NULL DEFAULT 'eligible',
    ADD COLUMN excluded_product_ids text[] NOT NULL DEFAULT '{}';

-- The columns of before, in their order, and the new ones behind them.
CREATE OR REPLACE VIEW redeemable_v1 AS
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
    g.webhook_attributes,
    k.combination,
    k.minimum_applies_to,
    k.excluded_product_ids,
    g.max_codes_per_order,
    g.commission_cap_hundredths
FROM promotion_codes c
JOIN coupons k ON k.id = c.coupon_id
JOIN programs g ON g.id = c.program_id
LEFT JOIN partners p ON p.id = c.partner_id;
