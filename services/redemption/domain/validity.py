"""What is wrong with a code itself when an order is bought: its state, dates, coupon, partner and currency."""

from datetime import datetime

from services.redemption.domain.moments import CLOCK_ALLOWANCE
from services.redemption.domain.purchase import Purchase
from services.redemption.domain.reasons import Fault
from services.redemption.domain.terms import CodeTerms


def fault_of_state(terms: CodeTerms, moment: datetime) -> Fault | None:
    """Return the fault of a code that was deleted before the purchase, or is switched off."""
    if terms.code_archived_at is not None and moment >= terms.code_archived_at:
        return Fault("code_inactive", "The code was deleted before the purchase.")
    if not terms.code_is_active:
        return Fault("code_inactive", "The code is inactive.")
    return None


def fault_of_start(terms: CodeTerms, moment: datetime) -> Fault | None:
    """Return the fault of a code that was not valid yet; a shop's clock may be a little behind."""
    latest_start = moment + CLOCK_ALLOWANCE
    if latest_start < terms.code_created_at:
        return Fault("code_not_started", "The code was created after the purchase.")
    if terms.code_starts_at is not None and latest_start < terms.code_starts_at:
        return Fault("code_not_started", "The code was not valid yet at the time of the purchase.")
    if terms.coupon_starts_at is not None and latest_start < terms.coupon_starts_at:
        return Fault("code_not_started", "The code's coupon was not valid yet at the time of the purchase.")
    return None


def fault_of_end(terms: CodeTerms, moment: datetime) -> Fault | None:
    """Return the fault of a code that had expired."""
    if terms.code_expires_at is not None and moment >= terms.code_expires_at:
        return Fault("code_expired", "The code had expired at the time of the purchase.")
    if terms.coupon_expires_at is not None and moment >= terms.coupon_expires_at:
        return Fault("code_expired", "The code's coupon had expired at the time of the purchase.")
    return None


def fault_of_owner(terms: CodeTerms, moment: datetime) -> Fault | None:
    """Return the fault of a code whose partner or coupon prevents its use."""
    if terms.partner_id is not None and terms.partner_status != "active":
        return Fault("partner_not_active", "The code's partner is not active.")
    if not terms.coupon_is_active:
        return Fault("coupon_inactive", "The code's coupon is inactive.")
    if terms.coupon_archived_at is not None and moment >= terms.coupon_archived_at:
        return Fault("coupon_inactive", "The code's coupon was deleted before the purchase.")
    return None


def fault_of_currency(terms: CodeTerms, purchase: Purchase) -> Fault | None:
    """Return the fault of a code that gives no discount in this currency."""
    if terms.discount_type == "percent" or purchase.currency is None:
        return None
    if terms.currency is None or terms.static_amount(purchase.currency) is not None:
        return None
    return Fault("currency_mismatch", f"The code takes nothing off an order in {purchase.currency}.")
