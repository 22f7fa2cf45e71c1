"""Why a code is refused: stable reasons, each with a sentence."""

from typing import Final, Literal, NamedTuple

Reason = Literal[
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
    "order_cancelled",
]


class Fault(NamedTuple):
    """What is wrong with using a code; `blocked_by` is the code of the same order that is in its way."""

    reason: Reason
    detail: str
    blocked_by: str | None = None


TAKEN_BACK: Final = Fault(
    "order_cancelled",
    "The order was taken back. Only a later purchase is a new one: by another clock, more than 60 seconds later.",
)
