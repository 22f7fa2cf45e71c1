"""Tells partners and programs by signed webhook what happened.

Owns endpoints, signing keys, messages, deliveries, attempts, dead letters and replays (schema `webhooks`). Consumes
every event of `codes` and `redemption` and its own; emits `webhook.*`, by which it reports on its own work.
"""
