"""Notifies partners and programs of events by signed webhooks.

Owns endpoints, signing keys, messages, deliveries, attempts, dead letters and replays (schema `webhooks`). Consumes
every event of `codes` and `redemption` and its own. It emits these events about its own work:
`webhook.endpoint_created`, `webhook.endpoint_updated`, `webhook.endpoint_paused`, `webhook.endpoint_enabled`,
`webhook.endpoint_disabled`, `webhook.endpoint_failing`, `webhook.recovered`, `webhook.endpoint_archived`,
`webhook.delivery_failing`, `webhook.delivery_recovered`, `webhook.delivery_dead`, `webhook.secret_unreadable`,
`webhook.secret_readable`, `webhook.certificate_expiring` and `webhook.replay_completed`.
"""
