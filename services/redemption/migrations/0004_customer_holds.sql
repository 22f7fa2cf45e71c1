-- What a customer holds of a coupon is looked up, so that a limit per customer counts what was reserved before it was set;
-- `customer_counters.held_until` is no longer read.
CREATE INDEX holds_customer ON holds (coupon_id, customer_key) WHERE customer_key IS NOT NULL;
