-- The number that stands in the body of a message; of flat ones, and of those nobody got at once, there is none.
ALTER TABLE messages ADD COLUMN sequence bigint;
