-- The names of what a checkout said that could not be kept, as ["customer.email", "attributes.deep"]; kept with the first
-- redemption of each purchase, to be shown. Null where nothing was left out.
ALTER TABLE redemptions ADD COLUMN left_out json;
