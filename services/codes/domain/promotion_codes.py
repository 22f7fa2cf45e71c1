"""Promotion codes as their program sees them: the members that each adds to its coupon, and which may still change."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

from services.codes.domain.codes import CodeStatus
from services.codes.domain.coupons import Coupon, changed, id_in, lowered
from services.codes.domain.errors import InvalidTerms, TermsFrozen
from services.codes.domain.given import Metadata
from services.codes.domain.partners import Partner

_FROZEN: Final = (
    *("canonical", "starts_at", "is_first_order_only", "minimum_minor", "minimum_currency"),
    *("is_limited_to_customer", "customer_id", "is_limited_to_partner", "commission_hundredths"),
)
_ONLY_UP: Final = ("expires_at", "redemption_limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlikeCodeTerms:
    """The terms that a code and a request write alike; None for no limit, percentages in hundredths of a percent."""

    partner_id: uuid.UUID | None = None
    external_id: str | None = None
    is_active: bool = True
    is_auto_generated: bool = False
    redemption_limit: int | None = None
    is_first_order_only: bool = False
    is_limited_to_customer: bool = False
    customer_id: str | None = None
    customer_name: str | None = None
    is_limited_to_partner: bool = False
    commission_hundredths: int | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionCode(AlikeCodeTerms):
    """A code as stored: `code` is shown, `canonical` is compared; money is in minor units."""

    id: uuid.UUID
    program_id: uuid.UUID
    coupon_id: uuid.UUID
    code: str
    canonical: str
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    minimum_minor: int | None = None
    minimum_currency: str | None = None
    reference: str | None = None
    batch_id: uuid.UUID | None = None
    created_by_key_id: uuid.UUID | None = None
    times_redeemed: int = 0
    last_redeemed_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShownCode:
    """A code with the objects shown with it."""

    code: PromotionCode
    coupon: Coupon
    partner: Partner | None
    link_url: str

    @property
    def id(self) -> uuid.UUID:
        """The code's id, by which lists are sorted."""
        return self.code.id


@dataclass(frozen=True, slots=True)
class ShownCoupon:
    """A coupon with its newest codes, and whether it has more."""

    coupon: Coupon
    codes: Sequence[PromotionCode]
    has_more_codes: bool = False

    @property
    def id(self) -> uuid.UUID:
        """The coupon's id, by which lists are sorted."""
        return self.coupon.id


@dataclass(frozen=True, slots=True)
class TriedCoupon:
    """A coupon as a request creates or changes it, and the time zone of its program."""

    shown: ShownCoupon
    timezone: str


@dataclass(frozen=True, slots=True)
class CodeRef:
    """A code named in a request: by our id, by its string in any spelling, or by a text that may be either."""

    text: str
    is_code: bool = False

    @property
    def as_id(self) -> uuid.UUID | None:
        """The id, if the text can be one."""
        return None if self.is_code else id_in(self.text)

    def __str__(self) -> str:
        return f"code {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFilter:
    """A filter of a program's live codes; all given members must match, None matches everything.

    `coupon` and `partner_email` come from the request: if they find nothing, no code matches. `prefix` is that of the
    canonical form; with it the codes are sorted by that form. A `reference` is that of the partner of `partner_id`.
    """

    id: uuid.UUID | None = None
    code: str | None = None
    external_id: str | None = None
    reference: str | None = None
    coupon: str | None = None
    partner_id: uuid.UUID | None = None
    partner_email: str | None = None
    customer_id: str | None = None
    batch_id: uuid.UUID | None = None
    prefix: str | None = None
    is_active: bool | None = None
    status: CodeStatus | None = None
    created_from: date | None = None
    created_before: date | None = None

    @property
    def is_named(self) -> bool:
        """Whether it names a code, so that one matches at most."""
        return any(each is not None for each in (self.id, self.code, self.external_id, self.reference))


@dataclass(frozen=True, slots=True)
class CodesPage:
    """Codes, newest first or by prefix, and the id to continue after; None at the end."""

    codes: Sequence[ShownCode]
    next_after: uuid.UUID | None


def check_code_terms(before: PromotionCode, after: PromotionCode) -> None:
    """Raise TermsFrozen if a change would affect terms that redemptions rely on."""
    if before.times_redeemed == 0:
        return
    frozen, fewer = list(changed(before, after, _FROZEN)), list(lowered(before, after, _ONLY_UP))
    if frozen or fewer:
        raise TermsFrozen(frozen, fewer)


def fault_of_window(starts_at: datetime | None, expires_at: datetime | None, coupon: Coupon) -> tuple[str, str] | None:
    """Return the date, with its rule, that keeps a code and its coupon from ever being valid together."""
    if starts_at is not None and coupon.expires_at is not None and coupon.expires_at <= starts_at:
        return "starts_at", "must be earlier than the end of its coupon"
    if expires_at is not None and coupon.starts_at is not None and expires_at <= coupon.starts_at:
        return "expires_at", "must be later than the start of its coupon"
    return None


def check_window(code: PromotionCode, coupon: Coupon) -> None:
    """Raise InvalidTerms if a code would never be valid together with its coupon."""
    if (fault := fault_of_window(code.starts_at, code.expires_at, coupon)) is not None:
        member, rule = fault
        raise InvalidTerms({member: [rule]})
