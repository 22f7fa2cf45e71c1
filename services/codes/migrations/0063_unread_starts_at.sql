-- Where a piece begins follows from its number, since all but the last are of one size: nothing reads it. The code of before
-- still writes it, and may run beside this one, so it becomes optional here; the release after this one drops it.
ALTER TABLE job_uploads ALTER COLUMN starts_at DROP NOT NULL;
