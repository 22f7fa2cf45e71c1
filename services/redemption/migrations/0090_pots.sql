-- What each code takes off which line of its order, as [[line, product, minor units], ...]; null where the order has no
-- lines. With it go the coupon's rule of combination and the program's cap of commissions, as they were: what the order
-- asks for later is judged beside them. `commission_version` orders the amounts that a redemption's commission had.
ALTER TABLE redemptions
    ADD COLUMN lines json,
    ADD COLUMN combination text NOT NULL DEFAULT 'any',
    ADD COLUMN commission_cap_hundredths integer NOT NULL DEFAULT 10000,
    ADD COLUMN commission_version integer NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN lines json;
GRANT UPDATE (commission_minor, commission_version) ON redemptions TO mintwire_redemption;
