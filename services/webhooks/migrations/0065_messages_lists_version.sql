-- Which version of the lists of what partners may see a body was made by; null where it was made before there were any.
-- Without a default, so that no row is written anew.
ALTER TABLE messages ADD COLUMN lists_version smallint;
