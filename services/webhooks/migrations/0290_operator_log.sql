GRANT SELECT, INSERT ON operator_log TO mintwire_webhooks;
GRANT EXECUTE ON FUNCTION purge_operator_log(uuid, timestamptz, integer) TO mintwire_webhooks;
