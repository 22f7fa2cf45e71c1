"""Decides who gets a code, under row locks, exactly once: validates, reserves, redeems and takes back.

Owns redemptions, reservations, use counters, the inbox of checkout events and the reasons of refusals. Consumes
`checkout.completed`, `checkout.cancelled` and `checkout.refunded`; emits `code.redeemed`, `code.redemption_rejected`,
`code.redemption_skipped`, `code.redemption_voided`, `code.commission_changed`, `code.exhausted` and
`coupon.exhausted`. Reads what the codes service publishes in its two views, and nothing else of it.
"""
