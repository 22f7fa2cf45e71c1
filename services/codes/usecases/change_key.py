"""Changes the name or the rate limit of an API key."""

import uuid
from dataclasses import dataclass

from services.codes.domain.access import Actor
from services.codes.domain.audit import difference
from services.codes.domain.errors import KeyRevoked, Missing, OperatorOnly
from services.codes.domain.given import Given
from services.codes.domain.keys import ApiKey, KeyDraft, OwnerRef
from services.codes.store import audit, keys
from services.codes.usecases.key_owner import audited_in, lock_owner, owner_of_key
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ChangeKey:
    """A program sets its partners' rate limits; its own keys' are set by the operator alone."""

    database: Database
    clock: Clock

    async def __call__(self, actor: Actor, ref: OwnerRef, key_id: uuid.UUID, changes: Given[KeyDraft]) -> ApiKey:
        """Apply `name` and `rate_limit_per_minute` where given; raises Missing, KeyRevoked or OperatorOnly."""
        async with self.database.transaction() as connection:
            owner = await lock_owner(connection, actor, await owner_of_key(connection, ref, key_id))
            if owner.partner_id is None and "rate_limit_per_minute" in changes.names and not actor.is_operator:
                raise OperatorOnly
            before = await keys.find_key(connection, key_id, owner)
            key = await keys.change_key(connection, key_id, owner, changes)
            if before is None:
                raise Missing
            if key is None:
                raise KeyRevoked
            if told := difference(before.terms, key.terms):
                whose = audited_in(actor, owner)
                await audit.record(connection, actor, whose, "key.updated", key.id, told, self.clock())
        return key
