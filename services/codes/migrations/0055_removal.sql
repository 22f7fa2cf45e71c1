-- What is old goes.
GRANT EXECUTE ON FUNCTION purge_events(timestamptz, integer), purge_inbox(timestamptz, integer) TO mintwire_codes;
