"""The terms of a code as read from the published view, which code a string means at a time, and what it takes off."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

DiscountType = Literal["percent", "static"]


@dataclass(frozen=True, slots=True)
class CodeTerms:
    """A code with its coupon, partner and program as they are now; the members stand in the order of the statement."""

    code_id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    coupon_id: uuid.UUID
    code: str
    canonical: str
    code_is_active: bool
    code_starts_at: datetime | None
    code_expires_at: datetime | None
    code_limit: int | None
    code_created_at: datetime
    code_archived_at: datetime | None
    coupon_uuid_code: str
    coupon_name: str
    coupon_is_active: bool
    discount_type: DiscountType
    percent_hundredths: int | None
    amount_minor: int | None
    currency: str | None
    duration_type: str
    duration_value: int | None
    coupon_starts_at: datetime | None
    coupon_expires_at: datetime | None
    coupon_limit: int | None
    coupon_archived_at: datetime | None
    partner_status: str | None
    quota_remaining: int | None
    attribute_names: Sequence[str]

    def was_live_at(self, moment: datetime) -> bool:
        """Whether the string belonged to this code then."""
        return self.code_created_at <= moment and (self.code_archived_at is None or moment < self.code_archived_at)


def meant_code(candidates: Sequence[CodeTerms], occurred_at: datetime) -> CodeTerms | None:
    """Choose among the codes that bear or bore one string.

    The one that was live at that time; otherwise the live one, since a checkout's clock may be behind; otherwise the
    one that was archived last, so that a refusal can name it.
    """
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    for terms in candidates:
        if terms.was_live_at(occurred_at):
            return terms
    return max(candidates, key=lambda terms: (terms.code_archived_at is None, terms.code_archived_at or occurred_at))


def discount_minor(
    terms: CodeTerms, subtotal_minor: int | None, currency: str | None, left_minor: int | None
) -> int | None:
    """Return what the terms take off the subtotal, in minor units of the order's currency; None when unknowable.

    A percentage is rounded half to even. Never more than `left_minor`, what the order's other codes have left over.
    """
    if subtotal_minor is None or left_minor is None:
        return None
    if terms.percent_hundredths is not None:
        return min(percentage(subtotal_minor, terms.percent_hundredths), left_minor)
    if terms.amount_minor is None or terms.currency is None or terms.currency != currency:
        return None
    return min(terms.amount_minor, left_minor)


def percentage(amount_minor: int, percent_hundredths: int) -> int:
    """Return a percentage of an amount, exact in integers, rounded half to even."""
    whole, rest = divmod(amount_minor * percent_hundredths, 10_000)
    return whole + (2 * rest > 10_000 or (2 * rest == 10_000 and whole % 2 == 1))
