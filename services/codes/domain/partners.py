"""Partners: who they are, how their e-mail addresses compare, and how a code prefix is found for them."""

import re
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from services.codes.domain.given import Metadata
from services.codes.domain.quota import Quota

PartnerStatus = Literal["pending", "active", "suspended"]

_DERIVED_LENGTH: Final = 12
# This many namesakes get consecutive numbers; later ones skip more and more.
_COUNTED: Final = 20
_LEAPS: Final = 40
_EMAIL = re.compile(r"[^\s@\x00-\x20\x7f]{1,64}@[^\s@\x00-\x20\x7f]{1,255}")
_PREFIX = re.compile(r"[A-Z0-9]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """A partner as stored."""

    id: uuid.UUID
    program_id: uuid.UUID
    name: str
    first_name: str | None
    last_name: str | None
    email: str | None
    status: PartnerStatus
    prefix: str
    support_email: str | None
    metadata: Metadata
    quota: Quota
    quota_low_threshold: int | None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PartnerDraft:
    """A new partner; without a prefix, one is derived from the name."""

    name: str = ""
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    prefix: str | None = None
    status: PartnerStatus = "pending"
    support_email: str | None = None
    metadata: Metadata = field(default_factory=dict)
    quota_low_threshold: int | None = None


def checked_email(text: str) -> str:
    """Return the address if it looks like one; raises ValueError."""
    if len(text) > 254 or not _EMAIL.fullmatch(text):
        raise ValueError("must be an e-mail address")
    return text


def checked_prefix(text: str) -> str:
    """Return the prefix in capitals; raises ValueError."""
    prefix = text.upper()
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("must consist of 1 to 32 of the letters A to Z and digits")
    return prefix


def derived_prefixes(name: str) -> Iterator[str]:
    """Yield prefixes made from a partner's name: ACME, then ACME2 to ACME20, then in leaps ACME40, ACME80 and so on."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().upper()
    stem = "".join(character for character in ascii_name if character.isalnum())[:_DERIVED_LENGTH] or "PARTNER"
    yield stem
    for number in (*range(2, _COUNTED + 1), *(_COUNTED << doubled for doubled in range(1, _LEAPS + 1))):
        yield f"{stem}{number}"
