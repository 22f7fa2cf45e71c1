-- Which erasure has taken a customer out of a message last: what receivers answer to it from then on is not kept.
ALTER TABLE messages ADD COLUMN erased_by uuid;
