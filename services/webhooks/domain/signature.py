"""Signatures and secrets as Standard Webhooks has them: `v1` is HMAC-SHA256 over id, timestamp and body."""

import base64
import binascii
import hmac
from collections.abc import Iterable
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public prefix that marks a secret, not one
SHORTEST_SECRET, LONGEST_SECRET = 24, 64
MAX_LIVE_KEYS: Final = 10


def parse_secret(text: str) -> bytes:
    """Return the key bytes of a `whsec_` secret; raises ValueError for anything that receivers could not decode."""
    if not text.startswith(SECRET_PREFIX):
        raise ValueError(f"must start with {SECRET_PREFIX}")
    encoded = text.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"must be {SECRET_PREFIX} followed by base64") from None
    # Only the canonical spelling: some decoders ignore stray bits at the end, others refuse them.
    if base64.b64encode(key).decode() != encoded:
        raise ValueError(f"must be {SECRET_PREFIX} followed by canonical base64")
    if not SHORTEST_SECRET <= len(key) <= LONGEST_SECRET:
        raise ValueError(f"must hold {SHORTEST_SECRET} to {LONGEST_SECRET} bytes")
    return key


def format_secret(key: bytes) -> str:
    """Return key bytes as the text that is shown once."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def sign(message_id: str, timestamp: int, body: bytes, keys: Iterable[bytes]) -> str:
    """Return the value of `webhook-signature`: one `v1` signature per live key, separated by spaces."""
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return " ".join("v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
