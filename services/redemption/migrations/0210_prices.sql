-- What each line of the order costs that a redemption was judged with, as [[product, minor units], ...]: one that is redeemed
-- again later has to fit into each line beside the codes that came since. Null for orders without lines and for those of
-- before; of these the subtotal alone is looked at.
ALTER TABLE redemptions ADD COLUMN prices json;
