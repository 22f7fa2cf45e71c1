"""What a mint is asked for and what comes of it."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import quote

from services.codes.domain.obscenity import obscene_places

MintRefusal = Literal[
    "invalid_key", "partner_not_active", "coupon_inactive", "no_codes_remaining", "rate_limited", "link_url_missing"
]


@dataclass(frozen=True, slots=True)
class MintingTerms:
    """How a partner's codes look: settings of the program and the partner, which are kept for some seconds.

    Without `link_url`, which is never kept, nothing is minted, and `is_partner_active` says what the partner is told.
    All else that decides whether to mint is read from the rows as they are then.
    """

    program_id: uuid.UUID
    partner_id: uuid.UUID
    coupon_id: uuid.UUID
    code_prefix: str
    code_alphabet: str
    code_length: int
    code_lifetime_seconds: int
    redemption_limit: int
    link_url: str
    is_partner_active: bool


class RateState(NamedTuple):
    """Where a key stands in its window of 60 s: `used` of `limit` requests, and when the window ends."""

    limit: int
    used: int
    resets_in_seconds: float


class Minted(NamedTuple):
    """A code, committed; for one that was asked for by a `reference` also how many its partner has left.

    `rate` is None for a key without a limit, and where an earlier request has minted it and nothing was charged.
    """

    code: str
    link: str
    expires_at: datetime | None
    rate: RateState | None
    reference: str | None = None
    remaining: int | None = None


class Refused(NamedTuple):
    """No code, and why."""

    reason: MintRefusal
    rate: RateState | None


MintOutcome = Minted | Refused


def code_link(link_url: str, code: str) -> str | None:
    """Return the link that applies the code at checkout: the program's address with `promo=` added to its query.

    None where the program has no address.
    """
    if not link_url:
        return None
    address, hash_sign, fragment = link_url.partition("#")
    joint = "" if address.endswith(("?", "&")) else "&" if "?" in address else "?"
    return f"{address}{joint}promo={quote(code, safe='')}{hash_sign}{fragment}"


def random_part(randomness: bytes, alphabet: str, length: int) -> str | None:
    """Spell random bytes in an alphabet of ASCII without bias.

    None if the bytes ran out, or if they read as an obscenity: other bytes are needed then.
    Bytes at or above the largest multiple of the alphabet's size are passed over: a plain remainder would favour
    the first letters.
    """
    spelled, passed_over = _spelling(alphabet)
    characters = randomness.translate(spelled, passed_over)
    if len(characters) < length:
        return None
    part = characters[:length].decode("ascii")
    return None if obscene_places(part) else part


@lru_cache(maxsize=1000)
def _spelling(alphabet: str) -> tuple[bytes, bytes]:
    """Return the letter for each byte, and the bytes that get none."""
    size = len(alphabet)
    letters = alphabet.encode("ascii")
    return bytes(letters[byte % size] for byte in range(256)), bytes(range(256 - 256 % size, 256))
