"""Rotates an API key: a second one like it; the first stays alive until it is revoked."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.errors import KeyRevoked, Missing
from services.codes.domain.keys import OwnerRef, ShownKey
from services.codes.store import keys
from services.codes.usecases.create_key import add_key
from services.codes.usecases.key_owner import lock_owner, owner_of_key
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class RotateKey:
    """Purpose, name, scopes and rate limit are handed down."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]

    async def __call__(self, actor: Actor, ref: OwnerRef, key_id: uuid.UUID, once: Once[ShownKey]) -> Answer:
        """Create the successor; raises Missing, KeyRevoked, ScopesLacking, MakerRevoked or TooManyLiveKeys."""

        async def work(connection: Connection, now: datetime) -> ShownKey:
            owner = await lock_owner(connection, actor, await owner_of_key(connection, ref, key_id))
            key = await keys.find_key(connection, key_id, owner)
            if key is None:
                raise Missing
            if key.revoked_at is not None:
                raise KeyRevoked
            return await add_key(connection, actor, owner, key.terms, self.new_id(), now)

        return await self.answer_once(once, work)
