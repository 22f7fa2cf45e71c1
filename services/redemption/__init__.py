"""Turns checkout events into redemptions: decides who gets a code, under row locks, exactly once.

Owns redemptions, use counters, the inbox of checkout events and the reasons of refusals. Consumes
`checkout.completed`; emits `code.redeemed` and `code.redemption_rejected`. Reads what the codes service publishes in
its two views, and nothing else of it.
"""
