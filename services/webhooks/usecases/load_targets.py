"""Loads what the dispatcher has to know of endpoints: where to, with which keys, and whether it may send."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.webhooks.domain.deliveries import Target
from services.webhooks.domain.endpoints import EndpointState
from services.webhooks.domain.secrets import SecretKind
from services.webhooks.store import endpoints
from shared.database.pool import Database
from shared.database.sealing import Seal


@dataclass(frozen=True, slots=True)
class LoadTargets:
    """Reads endpoints with their keys, and passes on which of them lack one that can be opened."""

    database: Database
    seal: Seal
    hear: Callable[[uuid.UUID, SecretKind | None], None]

    async def __call__(self, endpoint_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Target]:
        """Return the endpoints by id, archived ones too."""
        async with self.database.connection() as connection:
            targets = await endpoints.targets(connection, self.seal, endpoint_ids)
        for endpoint_id, target in targets.items():
            if not target.is_archived:
                self.hear(endpoint_id, target.missing)
        return targets


@dataclass(frozen=True, slots=True)
class ReadStates:
    """Reads whether endpoints have changed."""

    database: Database

    async def __call__(self, endpoint_ids: Sequence[uuid.UUID]) -> list[EndpointState]:
        """Return version and state of endpoints."""
        async with self.database.connection() as connection:
            return await endpoints.states(connection, endpoint_ids)
