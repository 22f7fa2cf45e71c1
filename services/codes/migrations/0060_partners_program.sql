-- no transaction: waits for who reads by it, without holding up who comes meanwhile. `partners_live` does the same.
DROP INDEX CONCURRENTLY partners_program;
