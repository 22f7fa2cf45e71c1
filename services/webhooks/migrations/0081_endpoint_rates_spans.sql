-- What of a limit per second is spent: for each claim until when its POSTs may begin, and how many they are. Whoever
-- claims next counts what may still begin within the second before it, so the limit holds in any second there is.
-- `full_at` was the bucket that this replaces; processes of the release before write it until they are gone.
ALTER TABLE endpoint_rates
    ALTER COLUMN full_at DROP NOT NULL,
    ADD COLUMN span_ends timestamptz[] NOT NULL DEFAULT '{}',
    ADD COLUMN span_counts integer[] NOT NULL DEFAULT '{}';
