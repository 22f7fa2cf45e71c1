-- no transaction: built beside live traffic. How many jobs of a program are under way is counted by it.
CREATE INDEX CONCURRENTLY jobs_unfinished ON jobs (program_id) WHERE finished_at IS NULL;
