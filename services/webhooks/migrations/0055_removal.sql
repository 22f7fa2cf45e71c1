-- What is old goes: the history and the inbox, replays, ended signing keys, and archived endpoints after their deliveries.
GRANT EXECUTE ON FUNCTION purge_events(timestamptz, integer), purge_inbox(timestamptz, integer) TO mintwire_webhooks;
GRANT DELETE ON endpoints, endpoint_rates, replays TO mintwire_webhooks;

CREATE INDEX endpoints_archived ON endpoints (archived_at, id) WHERE archived_at IS NOT NULL;
CREATE INDEX endpoint_keys_ended ON endpoint_keys (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX replays_completed ON replays (completed_at, id) WHERE completed_at IS NOT NULL;
CREATE INDEX replays_endpoint ON replays (endpoint_id);
