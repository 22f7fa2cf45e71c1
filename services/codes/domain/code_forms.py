"""How a code without a given string is generated: its fixed and random parts."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from services.codes.domain.coupons import Coupon
from services.codes.domain.errors import InvalidTerms
from services.codes.domain.money import major_units, percent
from services.codes.domain.partners import Partner
from services.codes.domain.programs import ProgramSettings

_PART_LENGTH: Final = 20
_OF_PARTNER: Final = ("first_name", "last_name", "email")


@dataclass(frozen=True, slots=True)
class CodeForm:
    """How the string of a code is generated: fixed text, then random characters.

    With `random_length` 0, a number is appended to a string that is taken.
    """

    text: str
    random_length: int
    is_lower_case: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeStructure:
    """The parts of a generated string, in this order.

    Without a prefix and parts it looks like the partner's generated codes. `random_length` is the program's if None.
    """

    prefix: str | None = None
    first_name: bool = False
    last_name: bool = False
    email: bool = False
    coupon_name: bool = False
    discount_amount: bool = False
    random_chars: bool = True
    random_length: int | None = None
    is_lower_case: bool = False


def form_of(structure: CodeStructure, settings: ProgramSettings, coupon: Coupon, partner: Partner | None) -> CodeForm:
    """Return the form of a structure's codes for a coupon and a partner; raises InvalidTerms."""
    if structure.prefix is None:
        return CodeForm(f"{partner.prefix}-" if partner else "", settings.code_length)
    text = structure.prefix + "".join(_parts(structure, coupon, partner))
    has_random = structure.random_chars or not code_word(text)
    length = (structure.random_length or settings.code_length) if has_random else 0
    return CodeForm(text, length, structure.is_lower_case)


def _parts(structure: CodeStructure, coupon: Coupon, partner: Partner | None) -> Iterator[str]:
    for name in _OF_PARTNER:
        if getattr(structure, name) and partner is None:
            raise InvalidTerms({f"structure.{name}": ["must be false for a code without {a partner}"]})
    if partner is not None:
        if structure.first_name:
            yield _word(partner.first_name or partner.name.split()[0])
        if structure.last_name:
            yield _word(partner.last_name or "")
        if structure.email:
            yield _word((partner.email or "").partition("@")[0])
    if structure.coupon_name:
        yield _word(coupon.name)
    if structure.discount_amount:
        yield _amount(coupon)


def _word(text: str) -> str:
    return code_word(text)[:_PART_LENGTH]


def code_word(text: str) -> str:
    """Return the capitals and digits of a text, without accents: the part of a name that a code can contain."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().upper()
    return "".join(character for character in plain if character.isalnum())


def _amount(coupon: Coupon) -> str:
    if coupon.percent_hundredths is not None:
        amount = percent(coupon.percent_hundredths)
    else:
        amount = major_units(coupon.amount_minor or 0, coupon.currency or "")
    # A code has no decimal point, and without one 12.5 would promise 125.
    return str(amount).replace(".", "P")
