"""Promotion codes as their program sees them: what each adds to its coupon's terms, and what may still change."""

import unicodedata
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from services.codes.domain.coupons import Coupon, changed, id_in, lowered
from services.codes.domain.errors import TermsFrozen
from services.codes.domain.partners import Partner
from services.codes.domain.programs import ProgramSettings

_FROZEN: Final = (
    *("canonical", "starts_at", "is_first_order_only", "minimum_minor", "minimum_currency"),
    *("is_limited_to_customer", "customer_id", "is_limited_to_partner", "commission_hundredths"),
)
_ONLY_UP: Final = ("expires_at", "redemption_limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionCode:
    """A code as stored: `code` is shown, `canonical` is compared."""

    id: uuid.UUID
    program_id: uuid.UUID
    coupon_id: uuid.UUID
    partner_id: uuid.UUID | None = None
    code: str
    canonical: str
    external_id: str | None = None
    is_active: bool = True
    is_auto_generated: bool = False
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    redemption_limit: int | None = None
    is_first_order_only: bool = False
    minimum_minor: int | None = None
    minimum_currency: str | None = None
    is_limited_to_customer: bool = False
    customer_id: str | None = None
    customer_name: str | None = None
    is_limited_to_partner: bool = False
    commission_hundredths: int | None = None
    reference: str | None = None
    batch_id: uuid.UUID | None = None
    created_by_key_id: uuid.UUID | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    times_redeemed: int = 0
    last_redeemed_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShownCode:
    """A code with what is shown beside it."""

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
    """A coupon with the newest of its codes, and whether it has more."""

    coupon: Coupon
    codes: Sequence[PromotionCode]
    has_more_codes: bool = False

    @property
    def id(self) -> uuid.UUID:
        """The coupon's id, by which lists are sorted."""
        return self.coupon.id


@dataclass(frozen=True, slots=True)
class CodeRef:
    """A code as a request names it: by our id, by its string in any spelling, or by a text that may be either."""

    text: str
    is_code: bool = False

    @property
    def as_id(self) -> uuid.UUID | None:
        """The id, if the text can be one."""
        return None if self.is_code else id_in(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFilter:
    """Which live codes of a program are asked for, all at once; None asks for nothing.

    `coupon` and `partner_email` are as a request writes them: what they do not find, no code has.
    """

    id: uuid.UUID | None = None
    code: str | None = None
    external_id: str | None = None
    coupon: str | None = None
    partner_id: uuid.UUID | None = None
    partner_email: str | None = None
    customer_id: str | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True)
class CodeForm:
    """How the string of a code is made where none is given: fixed text, then random characters.

    With `random_length` 0 a string that is taken gets a number behind it.
    """

    text: str
    random_length: int
    is_lower_case: bool = False


def default_form(settings: ProgramSettings, _: Coupon, partner: Partner | None) -> CodeForm:
    """Return how a code looks that nobody said anything about: as the partner's generated codes do."""
    return CodeForm(f"{partner.prefix}-" if partner else "", settings.code_length)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeDraft:
    """A code to be made: its string or how to make one, whose it is, and the other members of PromotionCode."""

    code: str | None = None
    form: Callable[[ProgramSettings, Coupon, Partner | None], CodeForm] = default_form
    partner_id: uuid.UUID | None = None
    partner_email: str | None = None
    members: Callable[[ProgramSettings], Mapping[str, Any]]


# What a request changes on a code, given the program's settings and the code as it is: members of PromotionCode.
CodeChanges = Callable[[ProgramSettings, PromotionCode], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class CodesPage:
    """Codes, newest first, and after which id to go on; None at the end."""

    codes: Sequence[ShownCode]
    next_after: uuid.UUID | None


def check_code_terms(before: PromotionCode, after: PromotionCode) -> None:
    """Raise TermsFrozen if a change would touch what redemptions have relied on."""
    if before.times_redeemed == 0:
        return
    frozen, fewer = list(changed(before, after, _FROZEN)), list(lowered(before, after, _ONLY_UP))
    if frozen or fewer:
        raise TermsFrozen(frozen, fewer)


def code_word(text: str) -> str:
    """Return the capitals and digits of a text, accents taken off: what of a name can stand in a code."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().upper()
    return "".join(character for character in plain if character.isalnum())
