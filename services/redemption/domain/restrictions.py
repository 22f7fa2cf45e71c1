"""A code's conditions for buyer and order, beyond its limits: each refusal with its reason."""

from collections.abc import Sequence

from services.redemption.domain.pot import Places
from services.redemption.domain.purchase import Line, Purchase
from services.redemption.domain.reasons import Fault
from services.redemption.domain.self_referral import is_partner
from services.redemption.domain.terms import CodeTerms, Restrictions


def fault_of_restrictions(
    terms: CodeTerms, purchase: Purchase, eligible: Places | None, eligible_minor: int | None
) -> Fault | None:
    """Return why this buyer or this order may not use the code; its eligible lines cost `eligible_minor`."""
    rules = terms.restrictions
    price_minor = counted_price(rules, purchase.subtotal_minor, eligible_minor)
    return (
        _fault_of_buyer(terms, rules, purchase)
        or _fault_of_products(rules, purchase, eligible)
        or _fault_of_minimum(rules.code_minimum_minor, rules.code_minimum_currency, purchase, price_minor)
        or _fault_of_minimum(rules.coupon_minimum_minor, rules.coupon_minimum_currency, purchase, price_minor)
        or _fault_of_amounts(terms, rules, purchase)
    )


def eligible_lines(rules: Restrictions, lines: Sequence[Line] | None) -> Places | None:
    """Return which lines the coupon is for, by their places; None if it is for the whole order.

    A line without a product is neither listed nor excluded.
    """
    if not rules.has_products:
        return None
    listed, excluded = frozenset(rules.product_ids), frozenset(rules.excluded_product_ids)
    return tuple(
        place
        for place, line in enumerate(lines or ())
        if (not listed or line.product_id in listed) and line.product_id not in excluded
    )


def counted_price(rules: Restrictions, subtotal_minor: int | None, eligible_minor: int | None) -> int | None:
    """Return the amount that a minimum applies to: of the eligible lines, or the subtotal if the coupon says so."""
    return eligible_minor if rules.has_products and rules.minimum_applies_to == "eligible" else subtotal_minor


def _fault_of_buyer(terms: CodeTerms, rules: Restrictions, purchase: Purchase) -> Fault | None:
    buyer = purchase.buyer
    if rules.is_limited_to_customer and not buyer.is_known_as(rules.customer_id):
        return Fault("customer_mismatch", "The code is for another customer.")
    if rules.is_limited_to_partner and not is_partner(terms, buyer):
        return Fault("partner_only", "Only the partner to whom the code belongs may use it.")
    if rules.customer_limit is not None and buyer.key is None:
        return Fault(
            "customer_required", "The code's uses are limited per customer: give the customer's id or e-mail address."
        )
    if (rules.code_is_first_order_only or rules.coupon_is_first_order_only) and not buyer.is_first_order:
        return Fault("first_order_only", "The code is for a customer's first order.")
    return None


def _fault_of_minimum(
    minimum: int | None, currency: str | None, purchase: Purchase, price_minor: int | None
) -> Fault | None:
    if minimum is None:
        return None
    if price_minor is None or purchase.currency is None:
        return Fault("order_required", "The code has a minimum: give the order's subtotal and currency.")
    if purchase.currency != currency:
        return Fault("currency_mismatch", f"The code's minimum is in {currency}.")
    if price_minor < minimum:
        return Fault(
            "minimum_not_met", f"The amount that counts is below the minimum of {minimum} minor units of {currency}."
        )
    return None


def _fault_of_products(rules: Restrictions, purchase: Purchase, eligible: Places | None) -> Fault | None:
    if eligible is None:
        return None
    if not purchase.lines:
        return Fault(
            "order_items_required", "The code is for some products: give the order's items with their amounts."
        )
    if not eligible:
        return Fault("product_not_eligible", "The order has none of the code's products.")
    if any(purchase.lines[place].amount_minor is None for place in eligible):
        return Fault("order_items_required", "The code is for some products: give the amount of each of their items.")
    return None


def _fault_of_amounts(terms: CodeTerms, rules: Restrictions, purchase: Purchase) -> Fault | None:
    if rules.max_discount_minor is not None and purchase.currency not in (None, terms.currency):
        return Fault("currency_mismatch", f"The code's discount is capped in {terms.currency}.")
    if rules.budget_minor is None:
        return None
    if purchase.subtotal_minor is None or purchase.currency is None:
        return Fault("order_required", "The coupon has a budget: give the order's subtotal and currency.")
    if purchase.currency != rules.budget_currency:
        return Fault("currency_mismatch", f"The coupon's budget is in {rules.budget_currency}.")
    return None
