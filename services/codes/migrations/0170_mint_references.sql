-- What a partner calls a code that it mints, so that asking again gets the same code. It goes when the code goes to
-- another partner.
ALTER TABLE promotion_codes ADD COLUMN reference text;
