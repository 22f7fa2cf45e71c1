-- The trace that a message belongs to, where its event names one: goes out with every attempt. Without a default, so
-- that no row is written anew.
ALTER TABLE messages ADD COLUMN traceparent text;
