"""A coupon that does not exist yet, judged on an order like a code of it that nobody has used. Pure."""

import uuid
from datetime import datetime
from typing import Final

from services.redemption.domain.books import Books, Budget, Count, quarter
from services.redemption.domain.customers import keys_counted
from services.redemption.domain.judgement import Appraisal, appraise
from services.redemption.domain.purchase import Purchase
from services.redemption.domain.terms import CodeTerms, Restrictions
from shared.draft_coupons import DraftCoupon
from shared.known_ids import NOBODY

# The string of the code that the order is judged with.
DRAFT: Final = "DRAFT"


def appraise_draft(draft: DraftCoupon, purchase: Purchase) -> Appraisal:
    """Judge a purchase of `DRAFT` by the terms of a draft, by the rules of every door."""
    terms = _terms(draft, purchase.program_id, purchase.occurred_at)
    [appraisal] = appraise(purchase, _books(draft, terms, purchase))
    return appraisal


def _terms(draft: DraftCoupon, program_id: uuid.UUID, now: datetime) -> CodeTerms:
    return CodeTerms(
        code_id=NOBODY,
        program_id=program_id,
        partner_id=None,
        coupon_id=NOBODY,
        code=DRAFT,
        canonical=DRAFT,
        code_is_active=True,
        code_starts_at=None,
        code_expires_at=None,
        code_limit=draft.code_redemption_limit,
        code_created_at=now,
        code_archived_at=None,
        coupon_uuid_code=DRAFT,
        coupon_name=DRAFT,
        coupon_is_active=draft.coupon_is_active,
        discount_type=draft.discount_type,
        percent_hundredths=draft.percent_hundredths,
        amount_minor=draft.amount_minor,
        currency=draft.currency,
        duration_type=draft.duration_type,
        duration_value=draft.duration_value,
        coupon_starts_at=draft.coupon_starts_at,
        coupon_expires_at=draft.coupon_expires_at,
        coupon_limit=draft.coupon_redemption_limit,
        coupon_archived_at=None,
        partner_status=None,
        quota_remaining=None,
        attribute_names=(),
        commission_hundredths=draft.coupon_commission_hundredths,
        release_policy=draft.release_policy,
        combination=draft.combination,
        restrictions=_restrictions(draft),
    )


def _restrictions(draft: DraftCoupon) -> Restrictions:
    return Restrictions(
        coupon_is_first_order_only=draft.coupon_is_first_order_only,
        coupon_minimum_minor=draft.coupon_minimum_minor,
        coupon_minimum_currency=draft.coupon_minimum_currency,
        max_discount_minor=draft.max_discount_minor,
        amounts_by_currency=draft.amounts_by_currency,
        customer_limit=draft.customer_redemption_limit,
        product_ids=draft.product_ids,
        daily_limit=draft.daily_redemption_limit,
        weekly_limit=draft.weekly_redemption_limit,
        monthly_limit=draft.monthly_redemption_limit,
        budget_minor=draft.budget_minor,
        budget_currency=draft.budget_currency,
        minimum_applies_to=draft.minimum_applies_to,
        excluded_product_ids=draft.excluded_product_ids,
    )


def _books(draft: DraftCoupon, terms: CodeTerms, purchase: Purchase) -> Books:
    """Return books in which nobody has used the coupon but elsewhere, before it comes here."""
    moment = purchase.occurred_at
    periods = dict.fromkeys(("day", "week", "month"), moment)
    budget = draft.budget_currency
    return Books(
        candidates={(purchase.program_id, DRAFT): (terms,)},
        code_counts={NOBODY: Count(0, 0)},
        coupon_counts={NOBODY: Count(draft.coupon_opening_uses, 0)},
        known_programs={purchase.program_id},
        customer_counts={key: Count(0, 0) for key in keys_counted(NOBODY, *purchase.buyer.keys)},
        period_counts={(NOBODY, period, start): Count(0, 0) for period, start in periods.items()},
        period_starts={(NOBODY, quarter(moment)): periods},
        budgets={} if budget is None else {NOBODY: Budget(budget, 0)},
    )
