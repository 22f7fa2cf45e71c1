"""Encrypts what must not be readable in the database (AES-256-GCM), each text bound to its place.

A sealed text begins with its form and the mark of its key, so that keys can be rotated. Texts of the first form have no
form in front and are bound to less; they are opened until that form is closed
(`shared.database.seal_forms`).

Exception
└── SealBroken    no configured key decrypts this text in this place
"""

import hashlib
import os
import uuid
from dataclasses import dataclass
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.faults import TransientFault

KEY_BYTES: Final = 32
MARK_BYTES: Final = 4
FORM: Final = b"mws2"
HEAD_BYTES: Final = len(FORM) + MARK_BYTES
_NONCE_BYTES: Final = 12


class SealBroken(Exception):
    """No configured key opens this text in this place: another key sealed it, it was damaged, or it was moved here."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a sealed text, in the binding of either form."""

    context: bytes
    first_form: bytes


def place(purpose: str, *names: uuid.UUID | str | None, first_form: bytes) -> Place:
    """Return a place; all texts of a purpose have the same number of names, so that no two places look alike."""
    parts = (purpose, *("" if name is None else str(name) for name in names))
    return Place("\x00".join(parts).encode(), first_form)


class Seal:
    """Encrypts with the first of its keys of 32 bytes and decrypts with any of them."""

    def __init__(self, *keys: bytes) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"A sealing key has {KEY_BYTES} bytes.")
        self._ciphers = {mark_of(key): AESGCM(key) for key in keys}
        self._mark = mark_of(keys[0])
        self.head = FORM + self._mark
        """The prefix of sealed texts that need not be sealed again."""
        self.accepts_first_form: bool | None = None
        """Whether texts of the first form are opened; None until that is known."""

    def close(self, plain: bytes, at: Place, *, is_first_form: bool = False) -> bytes:
        """Return the sealed bytes, with form, the key's mark and a fresh nonce in front."""
        nonce = os.urandom(_NONCE_BYTES)
        head, context = (self._mark, at.first_form) if is_first_form else (self.head, at.context)
        return head + nonce + self._ciphers[self._mark].encrypt(nonce, plain, context)

    def open(self, sealed: bytes, at: Place) -> bytes:
        """Return the plain bytes. Raises SealBroken, or TransientFault until the open forms are known."""
        if not is_first_form(sealed):
            return self._open(sealed[len(FORM) :], at.context)
        if self.accepts_first_form is None:
            raise TransientFault("it is not known yet which forms of sealed texts are opened")
        if not self.accepts_first_form:
            raise SealBroken
        return self._open(sealed, at.first_form)

    def has_key_of(self, sealed: bytes) -> bool:
        """Return whether the key that a text names is one of ours."""
        mark = sealed[:MARK_BYTES] if is_first_form(sealed) else sealed[len(FORM) : HEAD_BYTES]
        return mark in self._ciphers

    def _open(self, marked: bytes, context: bytes) -> bytes:
        cipher = self._ciphers.get(marked[:MARK_BYTES])
        nonce = marked[MARK_BYTES : MARK_BYTES + _NONCE_BYTES]
        if cipher is None or len(nonce) < _NONCE_BYTES:
            raise SealBroken
        try:
            return cipher.decrypt(nonce, marked[MARK_BYTES + _NONCE_BYTES :], context)
        except InvalidTag:
            raise SealBroken from None


class Looked(NamedTuple):
    """Whether a sealed text opens, and its replacement, if it needs one."""

    is_readable: bool
    renewed: bytes | None


class SealCheck:
    """One pass over many sealed texts: counts them, and seals those of an older key or the first form again.

    Texts of the first form stay unchanged while processes run that know only that form (`renews_first_form`).
    """

    def __init__(self, seal: Seal, *, renews_first_form: bool) -> None:
        self._seal = seal
        self.renews_first_form = renews_first_form
        self.readable = 0
        self.unreadable = 0
        self.broken = 0
        """The unreadable ones that name a key of ours: even the right key does not open them."""
        self.renewed = 0
        self.waiting = 0
        """Texts of the first form that may still be opened one day: they keep that form from being closed."""

    @property
    def has_wrong_key(self) -> bool:
        """Whether there are sealed texts, and none of them has a key of ours."""
        return self.unreadable > 0 and not self.readable and not self.broken

    def look(self, sealed: bytes, at: Place) -> Looked:
        """Check one text. Raises TransientFault until the open forms are known."""
        is_first = is_first_form(sealed)
        try:
            plain = self._seal.open(sealed, at)
        except SealBroken:
            is_broken = self._seal.has_key_of(sealed)
            self.unreadable += 1
            self.broken += is_broken
            # A key that is not configured now may be configured again.
            self.waiting += is_first and not is_broken
            return Looked(False, None)
        self.readable += 1
        if sealed.startswith(self._seal.head):
            return Looked(True, None)
        if is_first and not self.renews_first_form:
            self.waiting += 1
            return Looked(True, None)
        self.renewed += 1
        return Looked(True, self._seal.close(plain, at))


def is_first_form(sealed: bytes) -> bool:
    """Return whether a text has no form in front."""
    return not sealed.startswith(FORM)


def mark_of(key: bytes) -> bytes:
    """Return the mark of a key, by which a sealed text names it."""
    return hashlib.sha256(b"mintwire sealing key" + key).digest()[:MARK_BYTES]
