"""Why a code takes nothing off, in words that a customer understands: what is the matter, then what to do about it.

A test holds the table against the reasons in the API's document, so a new reason cannot reach a customer as an error.
"""

from typing import Final

REFUSALS: Final[dict[str, tuple[str, str]]] = {
    "code_unknown": ("is not one of our codes.", "Check it letter by letter against your gift or message."),
    "code_inactive": ("is switched off.", "Ask the sender of the code for another one."),
    "code_expired": ("has expired.", "Ask the sender of the code whether they have a newer one."),
    "code_not_started": ("is not valid yet.", "Keep it, and come back when it starts."),
    "code_used": ("has been used already.", "A code works as often as its sender allowed, and that is over."),
    "code_held": (
        "is in use in another order right now.",
        "It is free again in a few minutes if that order is not paid.",
    ),
    "coupon_inactive": ("belongs to an offer that is switched off.", "Ask the sender of the code for another one."),
    "coupon_exhausted": ("belongs to an offer that has been used up.", "All of its discounts are gone."),
    "coupon_held": ("belongs to an offer whose last uses are in other orders.", "Try again in a few minutes."),
    "partner_not_active": ("comes from a partner that we no longer work with.", "Ask them about your gift."),
    "program_unknown": ("cannot be used in this shop.", "Check that this is the shop that the code is for."),
    "customer_mismatch": ("was given to somebody else.", "Use the e-mail address that the code was sent to."),
    "customer_required": ("needs your e-mail address.", "Enter it below; the code is checked again when you buy."),
    "customer_limit_reached": ("has a limit per customer, which you have reached.", "Somebody else can still use it."),
    "partner_only": ("is for our partner's own orders.", "Ask them for a code for customers."),
    "first_order_only": ("is for a first order.", "You have ordered with this e-mail address before."),
    "minimum_not_met": ("needs a larger order.", "Add another card, and it may count."),
    "currency_mismatch": ("is for orders in another currency.", "This shop sells in euros."),
    "order_required": ("needs to know what you buy.", "Put a card in your bag first."),
    "product_not_eligible": ("is not for this card.", "It takes something off other products."),
    "order_items_required": ("is only for some products.", "Put one of them in your bag first."),
    "self_referral": ("is your own code as a partner.", "You can give it to others, but not buy with it."),
    "not_combinable": ("cannot be combined with another code in your bag.", "Remove one of the two."),
    "too_many_codes": ("is one code too many for an order.", "Remove another one to use it."),
    "no_effect": (
        "takes nothing more off.",
        "Your other codes already pay for everything it covers; keep it for later.",
    ),
    "period_limit_reached": ("has reached its limit for now.", "Try again in the next period, tomorrow or later."),
    "budget_exhausted": ("belongs to an offer whose budget is spent.", "All of its discounts are gone."),
    "order_cancelled": ("belongs to an order that was cancelled.", "Start a new order to use it."),
}

# A reason that this copy of the table does not know yet.
UNKNOWN: Final = ("cannot be used for this order.", "Remove it, or ask us by e-mail.")


def refusal(reason: str | None) -> tuple[str, str]:
    """Return both sentences for a reason of the API."""
    return REFUSALS.get(reason or "", UNKNOWN)
