"""What a code asks of buyer and order, beyond its limits: each refusal with its reason."""

from services.redemption.domain.purchase import Purchase, canonical_email
from services.redemption.domain.reasons import Fault
from services.redemption.domain.terms import CodeTerms, Restrictions


def fault_of_restrictions(terms: CodeTerms, purchase: Purchase) -> Fault | None:
    """Return why this buyer or this order may not use the code."""
    rules = terms.restrictions
    return (
        _fault_of_buyer(terms, rules, purchase)
        or _fault_of_minimum(rules.code_minimum_minor, rules.code_minimum_currency, purchase)
        or _fault_of_minimum(rules.coupon_minimum_minor, rules.coupon_minimum_currency, purchase)
        or _fault_of_products(rules, purchase)
        or _fault_of_amounts(terms, rules, purchase)
    )


def discounted_part(terms: CodeTerms, purchase: Purchase) -> int | None:
    """Return what the discount is taken of: the lines of the coupon's products if all tell their amounts, else all."""
    if not terms.restrictions.product_ids or purchase.lines is None or purchase.subtotal_minor is None:
        return purchase.subtotal_minor
    chosen = [line.amount_minor for line in purchase.lines if line.product_id in terms.restrictions.product_ids]
    told = [amount for amount in chosen if amount is not None]
    return min(sum(told), purchase.subtotal_minor) if len(told) == len(chosen) else purchase.subtotal_minor


def _fault_of_buyer(terms: CodeTerms, rules: Restrictions, purchase: Purchase) -> Fault | None:
    buyer = purchase.buyer
    if rules.is_limited_to_customer and buyer.id != rules.customer_id:
        return Fault("customer_mismatch", "The code is for another customer.")
    if rules.is_limited_to_partner and not _is_partner(terms, rules, purchase):
        return Fault("partner_only", "Only the partner to whom the code belongs may use it.")
    if rules.customer_limit is not None and buyer.key is None:
        return Fault("customer_required", "The code's uses are limited per customer: say who buys, by id or e-mail.")
    if (rules.code_is_first_order_only or rules.coupon_is_first_order_only) and not buyer.is_first_order:
        return Fault("first_order_only", "The code is for a customer's first order.")
    return None


def _is_partner(terms: CodeTerms, rules: Restrictions, purchase: Purchase) -> bool:
    buyer = purchase.buyer
    if terms.partner_id is None:
        return False
    if buyer.id is not None and buyer.id == str(terms.partner_id):
        return True
    return (
        buyer.email is not None
        and rules.partner_email_canonical is not None
        and canonical_email(buyer.email) == rules.partner_email_canonical
    )


def _fault_of_minimum(minimum: int | None, currency: str | None, purchase: Purchase) -> Fault | None:
    if minimum is None:
        return None
    if purchase.subtotal_minor is None or purchase.currency is None:
        return Fault("order_required", "The code has a minimum: say the order's subtotal and currency.")
    if purchase.currency != currency:
        return Fault("currency_mismatch", f"The code's minimum is in {currency}.")
    if purchase.subtotal_minor < minimum:
        return Fault("minimum_not_met", f"The order is below the minimum of {minimum} minor units of {currency}.")
    return None


def _fault_of_products(rules: Restrictions, purchase: Purchase) -> Fault | None:
    if not rules.product_ids:
        return None
    if not any(line.product_id in rules.product_ids for line in purchase.lines or ()):
        return Fault("product_not_eligible", "The order has none of the products that the code is for.")
    return None


def _fault_of_amounts(terms: CodeTerms, rules: Restrictions, purchase: Purchase) -> Fault | None:
    if rules.max_discount_minor is not None and purchase.currency not in (None, terms.currency):
        return Fault("currency_mismatch", f"The code's discount is capped in {terms.currency}.")
    if rules.budget_minor is None:
        return None
    if purchase.subtotal_minor is None or purchase.currency is None:
        return Fault("order_required", "The coupon has a budget: say the order's subtotal and currency.")
    if purchase.currency != rules.budget_currency:
        return Fault("currency_mismatch", f"The coupon's budget is in {rules.budget_currency}.")
    return None
