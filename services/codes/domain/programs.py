"""Programs (merchants) and the rules about their settings; a fault is a ValueError whose text follows the field."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from services.codes.domain.errors import WeakCodeSpace

DEFAULT_WEBHOOK_ATTRIBUTES: Final = ("card_id", "recipient_name", "occasion")
# There are no links until the program sets their address.
NO_LINK_URL: Final = ""
OWN_WEBHOOK_MEMBERS: Final = frozenset({"event", "partner_id", "code", "timestamp", "codes_remaining"})
MAX_WEBHOOK_ATTRIBUTES: Final = 10
MAX_CODE_PACKS: Final = 20
# The space of the default, 8 hex digits. Codes with fewer bits are guessed too fast, and partners run out of strings.
MIN_CODE_SPACE: Final = 2**32

_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}", re.ASCII)
_CODE_CHARACTERS = re.compile(r"[0-9A-Z]+", re.ASCII)
# Characters that the canonical form of a code equates.
_FOLDED = str.maketrans("OIL", "011")


@dataclass(frozen=True, slots=True)
class ProgramSettings:
    """The settings of a program."""

    name: str = ""
    link_url: str = NO_LINK_URL
    currency: str = "USD"
    timezone: str = "UTC"
    support_email: str | None = None
    code_length: int = 8
    code_alphabet: str = "0123456789ABCDEF"
    code_lifetime_seconds: int = 172_800
    webhook_attributes: tuple[str, ...] = DEFAULT_WEBHOOK_ATTRIBUTES
    max_codes_per_order: int = 10
    commission_cap_hundredths: int = 10_000
    allow_self_referral: bool = True
    code_packs: tuple[int, ...] = ()
    is_demo: bool = False


# The merchant's own settings. The others are for the operator: they affect other programs, partners' money, or amounts
# that were already granted.
MERCHANTS_OWN: Final = frozenset({"link_url", "timezone", "support_email", "webhook_attributes", "code_packs"})


@dataclass(frozen=True, slots=True)
class Program:
    """A program as stored."""

    id: uuid.UUID
    settings: ProgramSettings
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ChangedProgram:
    """A program after a change, and its earlier settings."""

    before: Program
    after: Program


def check_code_space(settings: ProgramSettings) -> None:
    """Raise WeakCodeSpace if generated codes would have fewer possibilities than the default has."""
    if len(settings.code_alphabet) ** settings.code_length < MIN_CODE_SPACE:
        raise WeakCodeSpace


def checked_link_url(text: str) -> str:
    """Return the address if it can serve for links of codes."""
    problem = "must be an http or https URL without user name or password"
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be an http or https URL in ASCII, without spaces")
    try:
        parts = urlsplit(text)
        has_port = parts.port is not None
    except ValueError:
        raise ValueError(problem) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError(problem)
    if parts.netloc.endswith(":") and not has_port:
        raise ValueError(problem)
    return text


def checked_webhook_attributes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of checkout attributes for the default webhook body."""
    if len(names) > MAX_WEBHOOK_ATTRIBUTES:
        raise ValueError(f"must not have more than {MAX_WEBHOOK_ATTRIBUTES} names")
    if len(set(names)) != len(names):
        raise ValueError("must not name an attribute twice")
    for name in names:
        if name in OWN_WEBHOOK_MEMBERS:
            raise ValueError(f"must not contain {name}, which is a member of the webhook itself")
        if not _ATTRIBUTE.fullmatch(name):
            raise ValueError(
                "must consist of names of at most 100 of the letters A to Z and a to z, digits, _ and -, "
                "without a digit or - first"
            )
    return tuple(names)


def checked_code_packs(packs: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers of codes that partners may order, from the smallest."""
    if len(set(packs)) != len(packs):
        raise ValueError("must not contain a number twice")
    return tuple(sorted(packs))


def checked_alphabet(text: str) -> str:
    """Return the alphabet if a code's canonical form keeps every character."""
    if not 2 <= len(text) <= 36 or not _CODE_CHARACTERS.fullmatch(text):
        raise ValueError("must consist of 2 to 36 of the capital letters A to Z and digits")
    if len(set(text.translate(_FOLDED))) != len(text):
        raise ValueError("must not repeat a character; O is read as 0, and I and L are read as 1")
    return text
