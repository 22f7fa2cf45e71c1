GRANT SELECT, INSERT, UPDATE ON key_uses TO mintwire_codes;
