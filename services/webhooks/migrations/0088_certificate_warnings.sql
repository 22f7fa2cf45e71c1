-- no transaction: built beside live traffic.
CREATE INDEX CONCURRENTLY endpoints_certificates ON endpoints (certificate_warns_at)
    WHERE certificate_warns_at IS NOT NULL AND archived_at IS NULL;
