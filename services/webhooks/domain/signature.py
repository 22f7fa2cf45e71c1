"""Secrets as Standard Webhooks defines them, and what is signed: `v1` is HMAC-SHA256, `v1a` is ed25519.

The ed25519 arithmetic is in `sender.signing`.
"""

import base64
import binascii
import hmac
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

Algorithm = Literal["hmac", "ed25519"]
Signing = Literal["hmac", "ed25519", "both"]
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public prefix that marks a secret, not one
_OPENING_LENGTH: Final = len(SECRET_PREFIX) + 4
PRIVATE_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"
SHORTEST_SECRET, LONGEST_SECRET = 24, 64
SEED_BYTES: Final = 32
MAX_LIVE_KEYS: Final = 10
LONGEST_GRACE_SECONDS: Final = 604_800
_ALGORITHMS: Final[dict[Signing, tuple[Algorithm, ...]]] = {
    "hmac": ("hmac",),
    "ed25519": ("ed25519",),
    "both": ("hmac", "ed25519"),
}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A signing key: an HMAC secret, or the seed of an ed25519 key."""

    algorithm: Algorithm
    secret: bytes

    @property
    def starts_with(self) -> str | None:
        """The first characters of an HMAC secret, by which people recognise it; a key pair has its public half."""
        return format_secret(self.secret)[:_OPENING_LENGTH] if self.algorithm == "hmac" else None


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key to store, with its public half, if it has one."""

    key: SigningKey
    public_key: bytes | None


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key without its secret, which may be shown at any time."""

    id: uuid.UUID
    algorithm: Algorithm
    public_key: bytes | None
    created_at: datetime
    expires_at: datetime | None
    made_by: uuid.UUID | None
    starts_with: str | None


def algorithms(signing: Signing) -> tuple[Algorithm, ...]:
    """Return the algorithms that an endpoint signs with."""
    return _ALGORITHMS[signing]


def parse_secret(text: str) -> bytes:
    """Return the key bytes of a `whsec_` secret; raises ValueError for anything that receivers could not decode."""
    key = decode(text, SECRET_PREFIX)
    if not SHORTEST_SECRET <= len(key) <= LONGEST_SECRET:
        raise ValueError(f"must contain {SHORTEST_SECRET} to {LONGEST_SECRET} bytes")
    return key


def format_secret(key: bytes) -> str:
    """Return key bytes as the text that is shown once."""
    return encode(SECRET_PREFIX, key)


def encode(prefix: str, key: bytes) -> str:
    """Return bytes as a key text: the prefix and base64."""
    return prefix + base64.b64encode(key).decode()


def decode(text: str, prefix: str) -> bytes:
    """Return the bytes of a key text; raises ValueError for anything but canonical base64 after the prefix."""
    if not text.startswith(prefix):
        raise ValueError(f"must start with {prefix}")
    encoded = text.removeprefix(prefix)
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"must be {prefix} followed by base64") from None
    # Only the canonical spelling: some decoders ignore stray bits at the end, others refuse them.
    if base64.b64encode(key).decode() != encoded:
        raise ValueError(f"must be {prefix} followed by canonical base64")
    return key


def signed_content(message_id: str, timestamp: int, body: bytes) -> bytes:
    """Return the bytes to sign."""
    return b"%b.%d.%b" % (message_id.encode(), timestamp, body)


def hmac_signature(content: bytes, key: bytes) -> str:
    """Return one `v1` signature."""
    return "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()
