"""Reads API keys, never their text."""

import uuid
from dataclasses import dataclass

from services.codes.domain.access import Actor
from services.codes.domain.keys import ApiKey, OwnerRef
from services.codes.store import keys
from services.codes.usecases.key_owner import find_owner
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """A page of the keys of a program or a partner, revoked ones too."""

    database: Database

    async def __call__(self, actor: Actor, ref: OwnerRef, after: uuid.UUID | None, limit: int) -> list[ApiKey]:
        """Return up to `limit` keys, newest first, older than `after`; raises Missing."""
        async with self.database.connection() as connection:
            owner = await find_owner(connection, actor, ref)
            return await keys.list_keys(connection, owner, after, limit)

    async def made_by(self, actor: Actor, maker_id: uuid.UUID, after: uuid.UUID | None, limit: int) -> list[ApiKey]:
        """Return keys that a key made, whoever owns them, as far as the actor reaches."""
        async with self.database.connection() as connection:
            return await keys.list_made(connection, maker_id, actor.program_id, after, limit)
