-- What webhooks does of exporting and erasing a customer; its own tables let the role do the rest.
-- Published, version 1: redemption gathers the parts by them.
CREATE VIEW customer_parts_v1 AS SELECT job_id, counts, started_at, done_at FROM customer_parts;
CREATE VIEW customer_lines_v1 AS SELECT job_id, nth, line FROM customer_lines;
GRANT SELECT, INSERT, UPDATE, DELETE ON customer_parts, customer_lines TO mintwire_webhooks;
GRANT USAGE ON SCHEMA webhooks TO mintwire_redemption;
GRANT SELECT ON customer_parts_v1, customer_lines_v1 TO mintwire_redemption;
