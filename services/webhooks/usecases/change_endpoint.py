"""Changes, pauses, resumes and archives endpoints; this process acts on it before its next send."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from services.webhooks.domain.endpoints import Endpoint, Owner, check_event_types
from services.webhooks.domain.errors import EndpointMissing
from services.webhooks.sender.urls import URLChecker
from services.webhooks.store import endpoints, queue
from services.webhooks.usecases.create_endpoint import vet_url
from services.webhooks.usecases.subscribable import PARTNER_TYPES, PROGRAM_TYPES
from shared.clock import Clock
from shared.database.pool import Database


class EndpointChanged(Protocol):
    """Hears that an endpoint is not as it was, right after the commit."""

    def __call__(self, endpoint_id: uuid.UUID, /) -> None:
        """Never blocks."""


@dataclass(frozen=True, slots=True)
class ChangeEndpoint:
    """Writes the members that are given."""

    database: Database
    clock: Clock
    urls: URLChecker
    changed: EndpointChanged

    async def __call__(self, owner: Owner, endpoint_id: uuid.UUID, changes: Mapping[str, Any]) -> Endpoint:
        """Return the endpoint as it is now. Raises EndpointMissing or InvalidField."""
        if "url" in changes:
            await vet_url(self.urls, changes["url"])
        async with self.database.transaction() as connection:
            endpoint = await endpoints.lock(connection, endpoint_id, owner.program_id, owner.partner_id)
            if endpoint is None:
                raise EndpointMissing
            changed = _changed(endpoint, changes, self.clock())
            version = await endpoints.update(connection, changed)
        self.changed(endpoint_id)
        return replace(changed, version=version)


@dataclass(frozen=True, slots=True)
class ArchiveEndpoint:
    """Takes an endpoint out of service for good and cancels what is pending for it."""

    database: Database
    clock: Clock
    changed: EndpointChanged

    async def __call__(self, owner: Owner, endpoint_id: uuid.UUID) -> Endpoint:
        """Return the endpoint as it was. Raises EndpointMissing."""
        now = self.clock()
        async with self.database.transaction() as connection:
            endpoint = await endpoints.lock(connection, endpoint_id, owner.program_id, owner.partner_id)
            if endpoint is None:
                raise EndpointMissing
            await endpoints.archive(connection, endpoint_id, now)
            # What is under way is left to its result; what slips in beside us is canceled when it is claimed.
            await queue.cancel_waiting(connection, endpoint_id, now)
        self.changed(endpoint_id)
        return endpoint


def _changed(endpoint: Endpoint, changes: Mapping[str, Any], now: datetime) -> Endpoint:
    members = dict(changes)
    if "event_types" in members:
        allowed = PROGRAM_TYPES if endpoint.partner_id is None else PARTNER_TYPES
        members["event_types"] = check_event_types(members["event_types"], allowed)
    changed = replace(endpoint, **members, updated_at=now)
    if "status" in members:
        changed = replace(changed, disabled_reason=None)
    if "url" in members or "status" in members:
        changed = replace(changed, resume_at=None)
    return changed
