-- Which coupon bears a `uuid_code`, or bore it last: redemption lists by it. In `redeemable_v1` it would have to go through
-- the codes of every coupon of that name.
CREATE VIEW coupon_v1 AS
SELECT k.id AS coupon_id, k.program_id, k.uuid_code, k.archived_at FROM coupons k;

GRANT SELECT ON coupon_v1 TO mintwire_redemption;
