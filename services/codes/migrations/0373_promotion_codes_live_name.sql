-- Under the name by which a taken code is known.
ALTER INDEX promotion_codes_prefix RENAME TO promotion_codes_live;
