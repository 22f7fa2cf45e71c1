-- Which codes of an order stand is told by all of its events in the order of their times, whenever each is heard of. So a
-- redemption keeps the purchases that mean it, also once it is voided (null while there is but one, which is its own time),
-- and whether it was voided alone, for no event of its order; null is not known, as of those voided before. An order keeps
-- the newest cancellation of each further clock.
ALTER TABLE redemptions ADD COLUMN purchases json, ADD COLUMN is_voided_alone boolean;
ALTER TABLE orders ADD COLUMN cancelled_besides json;
GRANT UPDATE (purchases, is_voided_alone) ON redemptions TO mintwire_redemption;
