-- Programs keep only time zones by which the database can count days: one that it does not know made it refuse every
-- purchase under a cap per day, week or month. Four names it takes for abbreviations, which know no summer time; each
-- becomes the place that the time zone database gives for it.
UPDATE programs SET timezone = CASE timezone WHEN 'CET' THEN 'Europe/Brussels' WHEN 'MET' THEN 'Europe/Brussels'
    WHEN 'EET' THEN 'Europe/Athens' WHEN 'WET' THEN 'Europe/Lisbon' ELSE 'UTC' END
WHERE timezone IN ('CET', 'MET', 'EET', 'WET', 'localtime', 'Factory')
   OR timezone NOT IN (SELECT name FROM pg_timezone_names);
