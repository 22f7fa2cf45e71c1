-- Uploads that were given up are found by it; a job is in it for as long as its file comes in.
CREATE INDEX jobs_uploading ON jobs (created_at) WHERE state = 'uploading';
