"""Shows endpoints to their owners; an endpoint of another owner is missing."""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime

from services.webhooks.domain.endpoints import Endpoint, EndpointPage, EndpointStatus, Owner, as_of
from services.webhooks.domain.errors import EndpointMissing
from services.webhooks.domain.secrets import SecretKind
from services.webhooks.domain.stats import Stats
from services.webhooks.store import endpoints, stats, targets
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.sealing import Seal


@dataclass(frozen=True, slots=True)
class ReadEndpoints:
    """Reads one endpoint or a page of them."""

    database: Database
    clock: Clock
    seal: Seal

    async def one(self, owner: Owner, endpoint_id: uuid.UUID) -> Endpoint:
        """Return an endpoint. Raises EndpointMissing."""
        async with self.database.connection() as connection:
            found = await endpoints.find(connection, owner, endpoint_id)
        if found is None:
            raise EndpointMissing
        return as_of(found, self.clock())

    async def health(self, owner: Owner, endpoint_id: uuid.UUID) -> tuple[Endpoint, SecretKind | None]:
        """Return an endpoint, and which secret of it cannot be decrypted. Raises EndpointMissing."""
        async with self.database.connection() as connection:
            found = await endpoints.find(connection, owner, endpoint_id)
            if found is None:
                raise EndpointMissing
            target = await targets.one(connection, self.seal, endpoint_id)
        return as_of(found, self.clock()), target.missing

    async def stats(self, owner: Owner, endpoint_id: uuid.UUID, since: datetime, until: datetime) -> Stats:
        """Return statistics of an endpoint's deliveries in a time range. Raises EndpointMissing."""
        async with self.database.connection() as connection:
            if await endpoints.find(connection, owner, endpoint_id) is None:
                raise EndpointMissing
            return await stats.sum_up(connection, endpoint_id, since, until, self.clock())

    async def page(
        self,
        owner: Owner,
        *,
        status: EndpointStatus | None,
        event_type: str | None,
        uid: str | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> EndpointPage:
        """Return up to `limit` endpoints, the newest first; a filtered page may be short."""
        async with self.database.connection() as connection:
            page = await endpoints.list_page(
                connection, owner, status=status, event_type=event_type, uid=uid, before=before, limit=limit
            )
        now = self.clock()
        return replace(page, endpoints=[as_of(each, now) for each in page.endpoints])
