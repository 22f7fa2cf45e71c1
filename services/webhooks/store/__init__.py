"""The SQL of the webhook service; rows leave as domain objects."""
