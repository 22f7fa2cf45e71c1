"""API keys: how they are generated, parsed and compared, and what they grant. Knows no database.

A key begins with `mw_sk_` (secret) or `mw_pk_` (publishable), in test mode `mw_test_sk_` or `mw_test_pk_`, then 22
characters of key id, 43 of secret and 6 of checksum, all base 62; the checksum lets a mistyped key be refused without a
query and lets scanners find leaks. The prefix is for people: the mode of a key is that of the tenant that owns it.
"""

import hashlib
import hmac
import secrets
import uuid
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from shared.accounts import Account
from shared.modes import Mode, is_test

KeyKind = Literal["secret", "publishable"]

PROGRAM_SCOPES: Final = frozenset({"manage", "checkout", "webhooks"})
PUBLISHABLE_SCOPES: Final = frozenset({"validate"})
PARTNER_SCOPES: Final = frozenset({"codes:generate", "codes:read", "webhooks"})

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_PREFIXES: Final[dict[tuple[KeyKind, Mode], str]] = {
    ("secret", "live"): "mw_sk_",
    ("publishable", "live"): "mw_pk_",
    ("secret", "test"): "mw_test_sk_",
    ("publishable", "test"): "mw_test_pk_",
}
_ID_LENGTH, _SECRET_LENGTH, _CHECK_LENGTH = 22, 43, 6
# Keys that are made in different milliseconds differ within it.
_OPENING_LENGTH: Final = 12
_REST: Final = _ID_LENGTH + _SECRET_LENGTH + _CHECK_LENGTH
_STARTS: Final = frozenset(_PREFIXES.values())


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key; `text` is shown once and never stored."""

    key_id: uuid.UUID
    text: str
    digest: bytes

    def __repr__(self) -> str:
        return f"NewKey(key_id={self.key_id!s})"


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """The id to look a presented key up by, and the digest to compare."""

    key_id: uuid.UUID
    digest: bytes


@dataclass(frozen=True, slots=True)
class Credential:
    """A key in use and its owner, as published by the codes service; `partner_id` is None for a program's key.

    Program and partner are tenants, separate ones in test mode (`shared.modes`). An account that acts for them has a
    credential too, whose `key_id` is the id of the account.
    """

    key_id: uuid.UUID
    digest: bytes
    kind: KeyKind
    scopes: frozenset[str]
    rate_limit_per_minute: int | None
    program_id: uuid.UUID
    program_name: str
    partner_id: uuid.UUID | None
    partner_name: str | None
    partner_status: str | None
    revoked_at: datetime | None
    account: Account | None = None

    @property
    def actor(self) -> str:
        """The caller's name in an audit log."""
        return f"key {self.key_id}" if self.account is None else self.account.name

    @property
    def is_test(self) -> bool:
        """Whether this is a key of test mode."""
        return is_test(self.program_id)


def generate(kind: KeyKind, key_id: uuid.UUID, mode: Mode = "live") -> NewKey:
    """Make a key with 256 random bits for the given id."""
    stem = _PREFIXES[kind, mode] + _encode(key_id.int, _ID_LENGTH) + _encode(secrets.randbits(256), _SECRET_LENGTH)
    text = stem + _checksum(stem)
    return NewKey(key_id, text, digest(text))


def opening(kind: KeyKind, key_id: uuid.UUID, mode: Mode) -> str:
    """Return the first characters of a key's text, by which people recognise it; they are part of its public id."""
    return _PREFIXES[kind, mode] + _encode(key_id.int, _ID_LENGTH)[:_OPENING_LENGTH]


def parse(text: str) -> ParsedKey | None:
    """Return id and digest of a well-formed key, else None, which saves a query."""
    if text[:-_REST] not in _STARTS:
        return None
    stem, check = text[:-_CHECK_LENGTH], text[-_CHECK_LENGTH:]
    try:
        number = _decode(text[-_REST:][:_ID_LENGTH])
        expected = _checksum(stem)
        key_id = uuid.UUID(int=number)
    except (KeyError, ValueError):
        return None
    if not hmac.compare_digest(expected.encode(), check.encode("utf-8", "replace")):
        return None
    return ParsedKey(key_id, digest(text))


def digest(text: str) -> bytes:
    """Return the stored form of a key. A plain SHA-256 suffices: the secret has 256 random bits."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(stem: str) -> str:
    return _encode(zlib.crc32(stem.encode("ascii")), _CHECK_LENGTH)


def _encode(number: int, length: int) -> str:
    characters = []
    for _ in range(length):
        number, rest = divmod(number, 62)
        characters.append(_ALPHABET[rest])
    return "".join(reversed(characters))


def _decode(text: str) -> int:
    number = 0
    for character in text:
        number = number * 62 + _VALUES[character]
    return number
