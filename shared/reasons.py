"""Why codes are refused or skipped: the stable reasons, as in events. Pure."""

from typing import Literal

RejectionReason = Literal[
    "code_unknown",
    "code_inactive",
    "code_expired",
    "code_not_started",
    "code_used",
    "code_held",
    "coupon_inactive",
    "coupon_exhausted",
    "coupon_held",
    "partner_not_active",
    "program_unknown",
    "customer_mismatch",
    "customer_required",
    "customer_limit_reached",
    "partner_only",
    "first_order_only",
    "minimum_not_met",
    "currency_mismatch",
    "order_required",
    "product_not_eligible",
    "order_items_required",
    "self_referral",
    "not_combinable",
    "too_many_codes",
    "no_effect",
    "period_limit_reached",
    "budget_exhausted",
]

SkipReason = Literal[
    "not_combinable",
    "too_many_codes",
    "no_effect",
    "coupon_exhausted",
    "coupon_held",
    "customer_limit_reached",
    "period_limit_reached",
    "budget_exhausted",
]
