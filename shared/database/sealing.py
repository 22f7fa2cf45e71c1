"""Seals what must not lie readable in the database (AES-256-GCM); the context binds a sealed text to its place.

A sealed text begins with the mark of the key that sealed it, so that keys can be changed one after the other.
"""

import hashlib
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
MARK_BYTES: Final = 4
_NONCE_BYTES: Final = 12


class Seal:
    """Seals with the first of its keys of 32 bytes and opens what any of them has sealed."""

    def __init__(self, *keys: bytes) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"A sealing key has {KEY_BYTES} bytes.")
        self._ciphers = {_mark(key): AESGCM(key) for key in keys}
        self.mark = _mark(keys[0])
        """What sealed texts begin with that need not be sealed anew."""

    def close(self, plain: bytes, context: bytes) -> bytes:
        """Return the sealed bytes, with the key's mark and a fresh nonce in front."""
        nonce = os.urandom(_NONCE_BYTES)
        return self.mark + nonce + self._ciphers[self.mark].encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Return the plain bytes; raises cryptography's InvalidTag for an unknown key, another context or content."""
        cipher = self._ciphers.get(sealed[:MARK_BYTES])
        if cipher is None:
            raise InvalidTag
        rest = sealed[MARK_BYTES:]
        return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], context)


def _mark(key: bytes) -> bytes:
    return hashlib.sha256(b"mintwire sealing key" + key).digest()[:MARK_BYTES]
