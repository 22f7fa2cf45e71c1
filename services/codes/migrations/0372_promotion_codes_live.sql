-- no transaction: dropped beside live traffic. The index before finds and keeps unique the same, so this one would only be written.
DROP INDEX CONCURRENTLY promotion_codes_live;
