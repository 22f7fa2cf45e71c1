"""Checks the signature and the age of a webhook. It reads the raw bytes and trusts nothing before verification."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence

from mintwire_receiver.arguments import key_text

TOLERANCE_SECONDS = 300
_SECRET, _PUBLIC = "whsec_", "whpk_"
_PUBLIC_KEY_BYTES = 32
_SHORTEST_SECRET = 24
# At most ten keys overlap during rotations; each further signature would cost another pass over the whole body.
_MOST_SIGNATURES = 10

Check = Callable[[bytes, bytes], bool]
"""Takes the signed content and a signature, and returns whether they match."""


class Refused(Exception):
    """The request is not a valid, recent webhook of ours; answer with 400 and do nothing else.

    `reason` is `missing_header`, `bad_timestamp`, `too_old`, `too_new`, `no_match` or `bad_body`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_key(text: str) -> tuple[str, Check]:
    """Parse a `whsec_` secret or a `whpk_` public key; return the signature version that it checks, and the check."""
    text = key_text(text)
    if text.startswith(_PUBLIC):
        return "v1a", _ed25519(_decode(text, _PUBLIC))
    secret = _decode(text, _SECRET)
    if len(secret) < _SHORTEST_SECRET:
        raise ValueError(f"a secret must have at least {_SHORTEST_SECRET} bytes")
    return "v1", _hmac(secret)


def verify(
    keys: Sequence[tuple[str, Check]], headers: Mapping[str, str], body: bytes, now: float, tolerance_seconds: float
) -> tuple[str, int]:
    """Return id and timestamp of a recent webhook signed by one of the keys. Raises `Refused`."""
    found = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, stamp, signatures = (
            found[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
        )
    except KeyError:
        raise Refused("missing_header") from None
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise Refused("bad_timestamp")
    signed = message_id.encode() + b"." + stamp.encode() + b"." + body
    if not any(_is_signed(keys, signed, each) for each in signatures.split(" ", _MOST_SIGNATURES)[:_MOST_SIGNATURES]):
        raise Refused("no_match")
    # Checked last, so that only the holder of a key can learn the time of this clock.
    if now - int(stamp) > tolerance_seconds:
        raise Refused("too_old")
    if int(stamp) - now > tolerance_seconds:
        raise Refused("too_new")
    return message_id, int(stamp)


def _is_signed(keys: Sequence[tuple[str, Check]], signed: bytes, signature: str) -> bool:
    version, _, encoded = signature.partition(",")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return any(known == version and check(signed, raw) for known, check in keys)


def _hmac(key: bytes) -> Check:
    def check(signed: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(hmac.new(key, signed, hashlib.sha256).digest(), signature)

    return check


def _ed25519(key: bytes) -> Check:
    if len(key) != _PUBLIC_KEY_BYTES:
        raise ValueError(f"a public key must have {_PUBLIC_KEY_BYTES} bytes")
    # An optional extra of this package: it is not needed for secrets.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - optional
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - optional

    public = Ed25519PublicKey.from_public_bytes(key)

    def check(signed: bytes, signature: bytes) -> bool:
        try:
            public.verify(signature, signed)
        except InvalidSignature:
            return False
        return True

    return check


def _decode(text: str, prefix: str) -> bytes:
    if not text.startswith(prefix):
        raise ValueError(f"a key must start with {_SECRET} or {_PUBLIC}")
    try:
        return base64.b64decode(text[len(prefix) :], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"after {prefix} a key must be base64") from None
