"""Mints and stores codes: owns programs, partners, keys, quotas, orders of codes, coupons and promotion codes.

Consumes `code.redeemed` and `code.redemption_voided`, to show how often codes were used; emits `codes.generated`,
`codes.batch_completed`, `coupon.created`, `coupon.updated`, `code.updated`, `quota.low`, `quota.exhausted`,
`code_order.created`, `code_order.granted`, `code_order.refused` and `code_order.cancelled`.
Publishes views that the other services read: the terms of codes, the holders of API keys, and the partners.
 Never decides whether a code may be used.
"""
