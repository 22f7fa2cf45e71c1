-- What a checkout said of its order and we only pass on; kept with the first redemption of each purchase, to be shown.
ALTER TABLE redemptions ADD COLUMN attributes json;
