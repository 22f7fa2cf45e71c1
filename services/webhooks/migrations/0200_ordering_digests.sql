-- What a program names to be in order with may be a customer: of its own messages the key is kept as a digest, by endpoint.
-- The triggers make the digest of what processes of the release before write, so that all of a line has one key.
LOCK TABLE delivery_queue, dead_letters IN SHARE ROW EXCLUSIVE MODE;

CREATE FUNCTION digest_ordering_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.ordering_key := 'sha256:'
        || encode(sha256(convert_to(NEW.endpoint_id::text || ':' || NEW.ordering_key, 'UTF8')), 'hex');
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION digest_ordering_key() FROM PUBLIC;

CREATE TRIGGER digest_ordering_key BEFORE INSERT ON delivery_queue FOR EACH ROW
    WHEN (NEW.event_type LIKE 'custom.%' AND NEW.ordering_key <> '' AND NEW.ordering_key !~ '^sha256:[0-9a-f]{64}$')
    EXECUTE FUNCTION digest_ordering_key();
CREATE TRIGGER digest_ordering_key BEFORE INSERT ON dead_letters FOR EACH ROW
    WHEN (NEW.event_type LIKE 'custom.%' AND NEW.ordering_key <> '' AND NEW.ordering_key !~ '^sha256:[0-9a-f]{64}$')
    EXECUTE FUNCTION digest_ordering_key();

-- A process that has one of these in hand calls its line up by the old key, in vain; the next look at all lines does it.
UPDATE delivery_queue
SET ordering_key = 'sha256:' || encode(sha256(convert_to(endpoint_id::text || ':' || ordering_key, 'UTF8')), 'hex')
WHERE ordering_key IS NOT NULL AND ordering_key <> '' AND event_type LIKE 'custom.%';
UPDATE dead_letters
SET ordering_key = 'sha256:' || encode(sha256(convert_to(endpoint_id::text || ':' || ordering_key, 'UTF8')), 'hex')
WHERE ordering_key IS NOT NULL AND ordering_key <> '' AND event_type LIKE 'custom.%';
