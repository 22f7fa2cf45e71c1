"""Judges codes for anyone: without the history of orders and customers, so that no answer reveals it."""

from collections.abc import Sequence
from dataclasses import replace

from services.redemption.domain.books import Books
from services.redemption.domain.judgement import Appraisal, appraise
from services.redemption.domain.purchase import Purchase
from services.redemption.domain.reasons import Reason
from services.redemption.domain.terms import CodeTerms

CUSTOMER_REQUIRED: Reason = "customer_required"


def appraise_publicly(purchase: Purchase, books: Books) -> list[Appraisal] | None:
    """Judge the codes of an order; None if any is refused, whatever the reason.

    The purchase names no order. Limits per customer are not applied; codes that lack only a customer are refused as
    `customer_required`, the one reason that is returned.
    """
    appraisals = appraise(purchase, _without_customers(books))
    if purchase.buyer.key is None and _are_good(appraisals):
        # Without a customer, no count of one is read.
        appraisals = appraise(purchase, books)
    return appraisals if _are_good(appraisals) else None


def _are_good(appraisals: Sequence[Appraisal]) -> bool:
    return all(each.fault is None or each.fault.reason == CUSTOMER_REQUIRED for each in appraisals)


def _without_customers(books: Books) -> Books:
    candidates = {key: [_unlimited(terms) for terms in found] for key, found in books.candidates.items()}
    return replace(books, candidates=candidates)


def _unlimited(terms: CodeTerms) -> CodeTerms:
    # Nor does the answer reveal whether an address is the partner's.
    terms = terms if terms.allows_self_referral else replace(terms, allows_self_referral=True)
    if terms.restrictions.customer_limit is None:
        return terms
    return replace(terms, restrictions=replace(terms.restrictions, customer_limit=None))
