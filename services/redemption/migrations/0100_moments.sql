-- Which of two events is later is told by their own times, as the clock of their source shows them. So far a time was kept
-- as we take it, within the day before we heard of it; rows of before have no more than that.
ALTER TABLE orders ADD COLUMN cancel_claimed_at timestamptz, ADD COLUMN cancel_clock text;
ALTER TABLE redemptions ADD COLUMN claimed_at timestamptz, ADD COLUMN clock text;
ALTER TABLE refunds ADD COLUMN claimed_at timestamptz, ADD COLUMN clock text;
GRANT UPDATE (claimed_at, clock) ON redemptions TO mintwire_redemption;
