GRANT SELECT, INSERT, UPDATE, DELETE ON dead_overflow TO mintwire_redemption;
