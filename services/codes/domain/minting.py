"""The request and the outcome of a mint."""

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
    """The form of a partner's codes: settings of the program and the partner, cached for some seconds.

    Settings without `link_url` are never cached: nothing is minted then, and `is_partner_active` decides the refusal.
    Everything else that decides about a mint is read from the rows at that time.
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
    """A key's rate limit in its window of 60 s: `used` of `limit` requests, and the end of the window."""

    limit: int
    used: int
    resets_in_seconds: float


class Minted(NamedTuple):
    """A committed code; if requested with a `reference`, also the partner's remaining quota.

    `rate` is None for a key without a limit, and if an earlier request minted the code and nothing was charged.
    """

    code: str
    link: str
    expires_at: datetime | None
    rate: RateState | None
    reference: str | None = None
    remaining: int | None = None


class Refused(NamedTuple):
    """No code, with the reason."""

    reason: MintRefusal
    rate: RateState | None


MintOutcome = Minted | Refused


def code_link(link_url: str, code: str) -> str | None:
    """Return the link that applies the code at checkout: the program's address with `promo=` added to its query.

    None if the program has no address.
    """
    if not link_url:
        return None
    address, hash_sign, fragment = link_url.partition("#")
    joint = "" if address.endswith(("?", "&")) else "&" if "?" in address else "?"
    return f"{address}{joint}promo={quote(code, safe='')}{hash_sign}{fragment}"


def random_part(randomness: bytes, alphabet: str, length: int) -> str | None:
    """Spell random bytes in an alphabet of ASCII without bias.

    None if the bytes ran out or the result reads as an obscenity: other bytes are needed then.
    Bytes at or above the largest multiple of the alphabet's size are skipped: a plain remainder would favour
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
    """Return the letter for each byte, and the bytes without one."""
    size = len(alphabet)
    letters = alphabet.encode("ascii")
    return bytes(letters[byte % size] for byte in range(256)), bytes(range(256 - 256 % size, 256))
