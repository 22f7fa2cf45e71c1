-- A program whose history is made up: only into one of these is demo data written, by this service and by those that read
-- the view.
ALTER TABLE programs ADD COLUMN is_demo boolean NOT NULL DEFAULT false;

-- Published, version 1: the programs that are demos.
CREATE VIEW demo_program_v1 AS SELECT id AS program_id FROM programs WHERE is_demo AND NOT is_test(id);
GRANT SELECT ON demo_program_v1 TO mintwire_redemption, mintwire_webhooks;
