-- The numbers of codes that partners may order; none: any number.
ALTER TABLE programs ADD COLUMN code_packs integer[] NOT NULL DEFAULT '{}' CHECK (cardinality(code_packs) <= 20);
