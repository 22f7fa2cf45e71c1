-- Days of statistics are those of the program, in every service. A column more of a published view.
CREATE OR REPLACE VIEW tenant_v1 AS
SELECT g.id AS program_id, g.name AS program_name, NULL::uuid AS partner_id, NULL::text AS partner_name,
       NULL::text AS partner_status, g.timezone AS program_timezone
FROM programs g
UNION ALL
SELECT g.id, g.name, p.id, p.name, p.status, g.timezone
FROM partners p JOIN programs g ON g.id = p.program_id
WHERE p.archived_at IS NULL;
