-- no transaction: waits for who reads by it, without holding up who comes meanwhile. `redemptions_of_code` does the same.
DROP INDEX CONCURRENTLY redemptions_code;
