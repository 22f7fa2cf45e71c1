GRANT EXECUTE ON FUNCTION newest_migration() TO mintwire_redemption;
