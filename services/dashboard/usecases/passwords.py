"""Hashes and checks passwords with Argon2id, in threads, a few at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.dashboard.domain.errors import TooBusy
from services.dashboard.usecases.tokens import new_token

# Each takes tens of mebibytes and a core for a while.
AT_ONCE: Final = 2
MOST_WAITING: Final = 20


class Passwords:
    """Argon2id with the library's parameters. Raises `TooBusy` when too many already wait."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        # Checked for unknown accounts, so that they take as long as known ones.
        self._decoy = self._hasher.hash(new_token())

    async def hash(self, password: str) -> str:
        """Return the hash of a new password."""
        async with self._turn():
            return await asyncio.to_thread(self._hasher.hash, password)

    async def check(self, password: str, stored: str | None) -> bool:
        """Return whether a password is the stored one; without a stored one never, after the same work."""
        async with self._turn():
            matches = await asyncio.to_thread(self._verify, password, stored or self._decoy)
        return matches and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Return whether a hash was made with other parameters than new ones."""
        return self._hasher.check_needs_rehash(stored)

    def _verify(self, password: str, stored: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING + AT_ONCE:
            raise TooBusy
        self._waiting += 1
        try:
            async with self._free:
                yield
        finally:
            self._waiting -= 1
