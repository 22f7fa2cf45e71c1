"""The terms of a code as read from the published view, and which code a string means at a time."""

import calendar
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from shared.times import zone_named

DiscountType = Literal["percent", "static"]
ReleasePolicy = Literal["always", "until_expiry", "never"]
Combination = Literal["any", "other_coupons", "none"]
MinimumApplies = Literal["eligible", "order"]


@dataclass(frozen=True, slots=True)
class Restrictions:
    """Limits that most codes lack."""

    code_is_first_order_only: bool = False
    coupon_is_first_order_only: bool = False
    code_minimum_minor: int | None = None
    code_minimum_currency: str | None = None
    coupon_minimum_minor: int | None = None
    coupon_minimum_currency: str | None = None
    is_limited_to_customer: bool = False
    customer_id: str | None = None
    is_limited_to_partner: bool = False
    max_discount_minor: int | None = None
    amounts_by_currency: Mapping[str, int] = field(default_factory=dict)
    customer_limit: int | None = None
    product_ids: Sequence[str] = ()
    daily_limit: int | None = None
    weekly_limit: int | None = None
    monthly_limit: int | None = None
    budget_minor: int | None = None
    budget_currency: str | None = None
    minimum_applies_to: MinimumApplies = "eligible"
    excluded_product_ids: Sequence[str] = ()

    @property
    def has_products(self) -> bool:
        """Whether the coupon is for some of an order's lines only."""
        return bool(self.product_ids) or bool(self.excluded_product_ids)

    @property
    def period_limits(self) -> Mapping[str, int]:
        """The caps per period that are set."""
        caps = {"day": self.daily_limit, "week": self.weekly_limit, "month": self.monthly_limit}
        return {period: limit for period, limit in caps.items() if limit is not None}


UNRESTRICTED = Restrictions()


# Not frozen: built for each code of each request, a frozen one would take four times as long.
@dataclass(slots=True)
class CodeTerms:
    """A code with its coupon, partner and program in their present state."""

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
    commission_hundredths: int | None = None
    release_policy: ReleasePolicy = "always"
    timezone: str = "UTC"
    combination: Combination = "any"
    max_codes_per_order: int = 10
    commission_cap_hundredths: int = 10_000
    allows_self_referral: bool = True
    partner_email: str | None = None
    restrictions: Restrictions = UNRESTRICTED

    def was_live_at(self, moment: datetime) -> bool:
        """Whether the string belonged to this code then."""
        return self.code_created_at <= moment and (self.code_archived_at is None or moment < self.code_archived_at)

    @property
    def expires_at(self) -> datetime | None:
        """When code or coupon expires, whichever comes first."""
        if self.code_expires_at is None or self.coupon_expires_at is None:
            return self.code_expires_at or self.coupon_expires_at
        return min(self.code_expires_at, self.coupon_expires_at)

    def static_amount(self, currency: str | None) -> int | None:
        """The static discount in that currency; None without an amount."""
        if currency is not None and currency == self.currency:
            return self.amount_minor
        return self.restrictions.amounts_by_currency.get(currency or "")


def meant_code(candidates: Sequence[CodeTerms], occurred_at: datetime) -> CodeTerms | None:
    """Choose among the codes that have or had one string.

    The one that was live at that time; otherwise the live one, since a checkout's clock may be slow; otherwise the
    one archived last, so that a refusal can name it.
    """
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    for terms in candidates:
        if terms.was_live_at(occurred_at):
            return terms
    return max(candidates, key=lambda terms: (terms.code_archived_at is None, terms.code_archived_at or occurred_at))


def percentage(amount_minor: int, percent_hundredths: int) -> int:
    """Return a percentage of an amount, exact in integers, rounded half up, as shops and billing do."""
    return (2 * amount_minor * percent_hundredths + 10_000) // 20_000


def discount_ends_at(terms: CodeTerms, occurred_at: datetime) -> datetime | None:
    """Return until when repeat purchases get the discount.

    `once` ends with the order itself, `lifetime` never (None). Days, months and years are counted on the
    program's calendar: a month ends at the same time of the same day of the month there, or of its last.
    """
    value = terms.duration_value or 0
    try:
        match terms.duration_type:
            case "lifetime":
                return None
            case "hours":
                return occurred_at + timedelta(hours=value)
            case "days":
                return _on_calendar(occurred_at, terms.timezone, lambda local: local + timedelta(days=value))
            case "months":
                return _on_calendar(occurred_at, terms.timezone, lambda local: _months_later(local, value))
            case "years":
                return _on_calendar(occurred_at, terms.timezone, lambda local: _months_later(local, 12 * value))
            case _:
                return occurred_at
    except (OverflowError, ValueError):
        # Beyond the calendar means never.
        return None


def _on_calendar(moment: datetime, timezone: str, later: Callable[[datetime], datetime]) -> datetime:
    """Return a later moment by the calendar and clocks of a time zone."""
    zone = zone_named(timezone)
    local = later(moment.astimezone(zone).replace(tzinfo=None)).replace(tzinfo=zone)
    # A repeated time means the second one; a skipped time, the one after the gap.
    return max(local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))


def _months_later(moment: datetime, months: int) -> datetime:
    years, month = divmod(moment.month - 1 + months, 12)
    year = moment.year + years
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)
