"""Which codes an order may use together, and whether one more still gives a discount."""

import uuid
from collections.abc import Iterable, Sequence

from services.redemption.domain.basket import OrderCode
from services.redemption.domain.reasons import Fault
from services.redemption.domain.terms import CodeTerms, Combination


def fault_of_combination(terms: CodeTerms, others: Sequence[OrderCode]) -> Fault | None:
    """Return why the code may not join the order's other codes; exclusion works in either order."""
    for other in others:
        if (detail := exclusion(terms.coupon_id, terms.combination, other)) is not None:
            return Fault("not_combinable", detail, other.text)
    if len(others) >= terms.max_codes_per_order:
        most = terms.max_codes_per_order
        detail = f"An order takes at most {most} code{'s' if most > 1 else ''}, of which {others[-1].text} is the last."
        return Fault("too_many_codes", detail, others[-1].text)
    return None


def fault_of_currencies(currency: str | None, others: Iterable[OrderCode]) -> Fault | None:
    """Return why a request may not join the order's other codes: discounts add up only in one currency."""
    for other in others:
        if currency is not None and other.currency not in (None, currency):
            detail = f"The order is in {other.currency}, in which it has {other.text}, and not in {currency}."
            return Fault("currency_mismatch", detail, other.text)
    return None


def fault_of_effect(
    terms: CodeTerms,
    currency: str | None,
    amount_minor: int | None,
    price_minor: int | None,
    others: Sequence[OrderCode],
) -> Fault | None:
    """Return why a code gives no discount here, although it would on another order."""
    if amount_minor != 0 or not _takes_something(terms, currency):
        return None
    taker = next((other for other in reversed(others) if other.taken.amount_minor), None)
    if not price_minor or taker is None:
        return Fault("no_effect", "There is nothing to discount: what the code is for costs nothing, or too little.")
    return Fault("no_effect", f"The code takes nothing off behind {taker.text}.", taker.text)


def exclusion(coupon_id: uuid.UUID, combination: Combination, other: OrderCode) -> str | None:
    """Return why a code of a coupon may not be in one order with another."""
    if combination == "none":
        return f"The code cannot be combined with others, and the order has {other.text}."
    if other.combination == "none":
        return f"{other.text}, which the order has, cannot be combined with other codes."
    if coupon_id == other.coupon_id and "other_coupons" in (combination, other.combination):
        return f"The code cannot be combined with {other.text}, which is of the same coupon."
    return None


def _takes_something(terms: CodeTerms, currency: str | None) -> bool:
    if terms.percent_hundredths is not None:
        return terms.percent_hundredths > 0 and terms.restrictions.max_discount_minor != 0
    return bool(terms.static_amount(currency))
