"""Changes the name or the rate limit of an API key."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.codes.domain.access import Actor
from services.codes.domain.errors import KeyRevoked, Missing, OperatorOnly
from services.codes.domain.keys import ApiKey, OwnerRef
from services.codes.store import keys
from services.codes.usecases.key_owner import find_owner
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ChangeKey:
    """A program sets its partners' rate limits; its own keys' are set by the operator alone."""

    database: Database

    async def __call__(self, actor: Actor, ref: OwnerRef, key_id: uuid.UUID, changes: Mapping[str, Any]) -> ApiKey:
        """Apply `name` and `rate_limit_per_minute` where given; raises Missing, KeyRevoked or OperatorOnly."""
        async with self.database.transaction() as connection:
            owner = await find_owner(connection, actor, ref)
            if owner.partner_id is None and "rate_limit_per_minute" in changes and not actor.is_operator:
                raise OperatorOnly
            key = await keys.change_key(connection, key_id, owner, dict(changes))
            if key is None:
                raise KeyRevoked if await keys.find_key(connection, key_id, owner) else Missing
        return key
