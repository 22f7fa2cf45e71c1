"""The secrets of cookies and links: random, and stored as digests only."""

import hashlib
import secrets
from typing import Final

_BYTES: Final = 32


def new_token() -> str:
    """Return a new secret of 256 bits."""
    return secrets.token_urlsafe(_BYTES)


def digest(token: str) -> bytes:
    """Return what is stored of a secret. It is random, so a plain hash suffices."""
    return hashlib.sha256(token.encode()).digest()
