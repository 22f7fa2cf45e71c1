"""Revokes an API key for good."""

import uuid
from dataclasses import dataclass

from services.codes.domain.access import Actor
from services.codes.domain.errors import Missing
from services.codes.domain.keys import ApiKey, OwnerRef
from services.codes.store import audit, keys
from services.codes.usecases.key_owner import audited_in, find_owner, owner_of_key
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class RevokeKey:
    """Mints obey at once; caches of other requests within five seconds."""

    database: Database
    clock: Clock

    async def __call__(self, actor: Actor, ref: OwnerRef, key_id: uuid.UUID) -> ApiKey:
        """Revoke the key; again changes nothing. Raises Missing."""
        now = self.clock()
        async with self.database.transaction() as connection:
            owner = await find_owner(connection, actor, await owner_of_key(connection, ref, key_id))
            key = await keys.revoke_key(connection, key_id, owner, now)
            if key is None:
                raise Missing
            if key.revoked_at == now:
                told = {"revoked_at": {"from": None, "to": now.isoformat()}}
                await audit.record(connection, actor, audited_in(actor, owner), "key.revoked", key.id, told, now)
        return key
