"""Coupons: the terms that codes share, and which of them may still change."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from services.codes.domain.errors import TermsFrozen
from services.codes.domain.given import Metadata

DiscountType = Literal["percent", "static"]
DurationType = Literal["once", "hours", "days", "months", "years", "lifetime"]
ReleasePolicy = Literal["always", "until_expiry", "never"]
Combination = Literal["any", "other_coupons", "none"]
MinimumApplies = Literal["eligible", "order"]

MAX_COUNT: Final = 2**31 - 1

# Frozen once a redemption exists. `combination` is not: it changes no paid order, and a merchant who finds that codes
# add up must be able to stop it.
_FROZEN: Final = (
    *("discount_type", "percent_hundredths", "amount_minor", "currency", "amounts_by_currency", "max_discount_minor"),
    *("duration_type", "duration_value", "starts_at", "is_first_order_only", "minimum_minor", "minimum_currency"),
    *("minimum_applies_to", "product_ids", "excluded_product_ids", "budget_currency", "release_policy"),
    "commission_hundredths",
)
# These may still change, but only in favour of the code's holder: None is no limit, so the highest of all.
_ONLY_UP: Final = (
    *("expires_at", "redemption_limit", "code_redemption_limit", "customer_redemption_limit", "budget_minor"),
    *("daily_redemption_limit", "weekly_redemption_limit", "monthly_redemption_limit"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlikeCouponTerms:
    """The terms that a coupon and a request write alike; None for no limit, percentages in hundredths of a percent."""

    external_id: str | None = None
    is_active: bool = True
    discount_type: DiscountType = "percent"
    currency: str | None = None
    duration_type: DurationType = "once"
    duration_value: int | None = None
    redemption_limit: int | None = None
    code_redemption_limit: int | None = None
    customer_redemption_limit: int | None = None
    daily_redemption_limit: int | None = None
    weekly_redemption_limit: int | None = None
    monthly_redemption_limit: int | None = None
    is_first_order_only: bool = False
    minimum_applies_to: MinimumApplies = "eligible"
    product_ids: tuple[str, ...] = ()
    excluded_product_ids: tuple[str, ...] = ()
    combination: Combination = "other_coupons"
    release_policy: ReleasePolicy = "always"
    commission_hundredths: int | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupon(AlikeCouponTerms):
    """A coupon as stored: money in minor units."""

    id: uuid.UUID
    program_id: uuid.UUID
    uuid_code: str
    name: str
    is_partner_coupon: bool = False
    percent_hundredths: int | None = None
    amount_minor: int | None = None
    amounts_by_currency: Mapping[str, int] = field(default_factory=dict)
    max_discount_minor: int | None = None
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    budget_minor: int | None = None
    budget_currency: str | None = None
    minimum_minor: int | None = None
    minimum_currency: str | None = None
    times_redeemed: int = 0
    opening_uses: int = 0
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether the coupon itself has uses left at this moment."""
        return (
            self.is_active
            and self.archived_at is None
            and (self.starts_at is None or self.starts_at <= now)
            and (self.expires_at is None or now < self.expires_at)
            and (self.redemption_limit is None or self.times_redeemed < self.redemption_limit)
        )


@dataclass(frozen=True, slots=True)
class CouponRef:
    """A coupon named in a request: by our id, by its `uuid_code`, or by a text that may be either."""

    text: str
    is_uuid_code: bool = False

    @property
    def as_id(self) -> uuid.UUID | None:
        """The id, if the text can be one."""
        return None if self.is_uuid_code else id_in(self.text)

    def __str__(self) -> str:
        return f"coupon with {'uuid_code' if self.is_uuid_code else 'id or uuid_code'} {self.text}"


@dataclass(frozen=True, slots=True)
class CouponFilter:
    """A filter of coupons; None matches everything."""

    external_id: str | None = None
    name: str | None = None
    is_active: bool | None = None


def id_in(text: str) -> uuid.UUID | None:
    """Return the id that a text spells in full, dashes included, or None."""
    if len(text) != 36:
        return None
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def check_terms(before: Coupon, after: Coupon) -> None:
    """Raise TermsFrozen if a change would affect terms that redemptions rely on."""
    if before.times_redeemed == 0:
        return
    frozen, fewer = list(changed(before, after, _FROZEN)), list(lowered(before, after, _ONLY_UP))
    if frozen or fewer:
        raise TermsFrozen(frozen, fewer)


def changed(before: object, after: object, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the members that differ."""
    return (name for name in names if getattr(before, name) != getattr(after, name))


def lowered(before: object, after: object, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the limits that become lower; None is no limit."""
    for name in names:
        old, new = getattr(before, name), getattr(after, name)
        if new is not None and (old is None or new < old):
            yield name
