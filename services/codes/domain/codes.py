"""A partner's codes as the partner sees them."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from shared.canonical import canonical_code

CodeStatus = Literal["active", "redeemed", "expired", "inactive"]

SHORTEST_PREFIX: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCode:
    """A promotion code of a partner with its uses so far."""

    id: uuid.UUID
    code: str
    link_url: str
    status: CodeStatus
    times_redeemed: int
    last_redeemed_at: datetime | None
    expires_at: datetime | None
    created_at: datetime
    reference: str | None


@dataclass(frozen=True, slots=True)
class IssuedPage:
    """Codes in the order of their list, and the id to continue after; None at the end."""

    codes: list[IssuedCode]
    next_after: uuid.UUID | None


def canonical_prefix(text: str) -> str:
    """Return the canonical form of the beginning of a code; raises ValueError, whose text follows the field."""
    try:
        prefix = canonical_code(text)
    except ValueError:
        prefix = ""
    if len(prefix) < SHORTEST_PREFIX:
        raise ValueError(f"must begin a code with at least {SHORTEST_PREFIX} letters or digits")
    return prefix
