-- What a customer holds of a coupon is looked up, so that a limit per customer counts what was reserved before it was set;
-- `customer_counters.held_until` is no longer read.
CREATE INDEX holds_customer ON holds (coupon_id, customer_key) WHERE customer_key IS NOT NULL;

-- By which time zone a coupon's periods are counted. If its program has another by now, or none is known, they are counted
-- anew from the redemptions, and those of before are forgotten.
ALTER TABLE coupon_counters ADD COLUMN period_zone text;
GRANT DELETE ON period_counters TO mintwire_redemption;

-- Of a voided redemption `confirmed_at` is from now on the latest purchase that is taken back with it, which was its
-- `voided_at` so far. Reports come at most a day late, so older ones do not matter.
UPDATE redemptions SET confirmed_at = voided_at
WHERE voided_at IS NOT NULL AND confirmed_at < voided_at AND voided_at > now() - interval '2 days';
