"""Changes, pauses, resumes and archives endpoints. This process applies the change before its next send."""

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from services.webhooks.domain.endpoints import (
    DISABLED_BY_OWNER,
    Breaker,
    Endpoint,
    EndpointStatus,
    Owner,
    ShownAuth,
    as_of,
    check_schedule,
)
from services.webhooks.domain.errors import EndpointMissing, EndpointOutdated, InvalidField, KeyMissing
from services.webhooks.domain.headers import Auth, check_auth, check_headers
from services.webhooks.domain.signature import algorithms
from services.webhooks.sender.signing import new_key
from services.webhooks.sender.urls import URLChecker
from services.webhooks.store import certificates, endpoints, queue, signing_keys
from services.webhooks.usecases import endpoint_events
from services.webhooks.usecases.close_endpoints import give_up_waiting
from services.webhooks.usecases.create_endpoint import check_partner, check_types, vet_url
from services.webhooks.usecases.delivery_queue import Renew
from services.webhooks.usecases.endpoint_events import HandOver
from services.webhooks.usecases.read_certificates import bundle_of, certificate_of
from shared.clock import Clock
from shared.database import outbox
from shared.database.pool import Connection, Database
from shared.database.sealing import Seal

CANCELED_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class ChangeEndpoint:
    """Changes the given settings of an endpoint."""

    database: Database
    clock: Clock
    urls: URLChecker
    seal: Seal
    new_id: Callable[[], uuid.UUID]
    renew: Renew
    hand_over: HandOver

    async def __call__(
        self,
        owner: Owner,
        endpoint_id: uuid.UUID,
        changes: Mapping[str, Any],
        versions: Collection[int] | None = None,
    ) -> Endpoint:
        """Return the changed endpoint; with `versions`, change it only if it is at one of them.

        Raises EndpointMissing, EndpointOutdated, InvalidField, PartnerInactive, UIDTaken or KeyMissing.
        """
        if "url" in changes:
            await vet_url(self.urls, changes["url"])
        changes = await self._read(changes)
        async with self.database.transaction() as connection:
            endpoint = await endpoints.lock(connection, owner, endpoint_id)
            if endpoint is None:
                raise EndpointMissing
            check_version(endpoint, versions)
            if "url" in changes:
                await check_partner(connection, owner, endpoint.partner_id)
            now = self.clock()
            changed = _changed(endpoint, changes, now)
            if "signing" in changes:
                await self._prepare_keys(connection, owner, changed, now)
            await self._set_secrets(connection, endpoint, changes, now)
            if endpoint.status != "active" and changed.status == "active":
                await endpoints.reset_health(connection, endpoint_id)
                breaker: Breaker = "half_open" if endpoint.status == "disabled" else "closed"
                changed = replace(changed, breaker=breaker, failing_since=None)
            version = await endpoints.update(connection, changed)
            events = list(endpoint_events.change_events(endpoint, changed, changes, now))
            if changed.status == "disabled":
                events += (await give_up_waiting(connection, endpoint_id, now))[1]
            await outbox.insert_events(connection, events)
        self.renew(endpoint_id)
        self.hand_over(events)
        return replace(changed, version=version)

    async def set_status(
        self,
        owner: Owner,
        endpoint_id: uuid.UUID,
        status: EndpointStatus,
        until: datetime | None = None,
        versions: Collection[int] | None = None,
    ) -> Endpoint:
        """Change the status; a pause may have an end. Raises EndpointMissing, EndpointOutdated or InvalidField."""
        if until is not None and until <= self.clock():
            raise InvalidField("until", "must be in the future")
        return await self(owner, endpoint_id, {"status": status, "paused_until": until}, versions)

    async def _read(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the changes with their certificates parsed. Raises InvalidField."""
        read = dict(changes)
        if "client_certificate" in changes:
            read["client_certificate"] = await certificate_of(changes["client_certificate"], self.clock())
        if "ca_bundle" in changes:
            read["ca_bundle"] = await bundle_of(changes["ca_bundle"])
        return read

    async def _set_secrets(
        self, connection: Connection, endpoint: Endpoint, changes: Mapping[str, Any], now: datetime
    ) -> None:
        """Write the secrets and certificates, which are stored separately from the shown members."""
        if "auth" in changes:
            await endpoints.set_auth(connection, endpoint, changes["auth"], self.seal)
        if "client_certificate" in changes:
            made = changes["client_certificate"]
            await certificates.set_certificate(connection, endpoint, made, self.seal, now)
        if "ca_bundle" in changes:
            await certificates.set_bundle(connection, endpoint.id, changes["ca_bundle"])

    async def _prepare_keys(self, connection: Connection, owner: Owner, endpoint: Endpoint, now: datetime) -> None:
        """Make sure that each algorithm has a key: a key pair is created, but an HMAC secret would have to be shown."""
        for algorithm in algorithms(endpoint.signing):
            if await signing_keys.count_live(connection, endpoint.id, algorithm, now):
                continue
            if algorithm == "hmac":
                raise KeyMissing
            made = new_key(algorithm)
            await signing_keys.insert(
                connection, self.seal, self.new_id(), endpoint, made, now, made_by=owner.caller_id
            )


@dataclass(frozen=True, slots=True)
class ArchiveEndpoint:
    """Archives an endpoint for good and cancels its pending deliveries."""

    database: Database
    clock: Clock
    renew: Renew
    hand_over: HandOver

    async def __call__(
        self,
        owner: Owner,
        endpoint_id: uuid.UUID,
        versions: Collection[int] | None = None,
        *,
        is_listener: bool = False,
    ) -> Endpoint:
        """Return the archived endpoint; `versions` as for a change. Raises EndpointMissing or EndpointOutdated."""
        now = self.clock()
        async with self.database.transaction() as connection:
            endpoint = await endpoints.lock(connection, owner, endpoint_id, is_listener=is_listener)
            if endpoint is None:
                raise EndpointMissing
            check_version(endpoint, versions)
            version = await endpoints.archive(connection, endpoint_id, now)
            # Attempts in progress keep their result; a delivery created concurrently is canceled when it is claimed.
            await queue.cancel_waiting(connection, endpoint_id, now, CANCELED_AT_ONCE)
            events = [] if is_listener else [endpoint_events.archived_event(endpoint, now)]
            await outbox.insert_events(connection, events)
        self.renew(endpoint_id)
        self.hand_over(events)
        return replace(as_of(endpoint, now), updated_at=now, version=version)


def check_version(endpoint: Endpoint, versions: Collection[int] | None) -> None:
    """Raise EndpointOutdated for an endpoint at none of the versions; None allows any."""
    if versions is not None and endpoint.version not in versions:
        raise EndpointOutdated


def _changed(endpoint: Endpoint, changes: Mapping[str, Any], now: datetime) -> Endpoint:
    members = dict(changes)
    if "event_types" in members:
        members["event_types"] = check_types(members["event_types"], endpoint.partner_id)
    if "headers" in members:
        check_headers(members["headers"])
        _check_headers_without_auth(members["headers"], members.get("auth", endpoint.auth))
    if members.get("schedule") is not None:
        members["schedule"] = check_schedule(members["schedule"])
    if (auth := members.get("auth")) is not None:
        members["auth"] = _shown(auth, members.get("headers", endpoint.headers))
    for name in ("client_certificate", "ca_bundle"):
        if members.get(name) is not None:
            members[name] = members[name].shown
    if "status" in members:
        members["disabled_reason"] = DISABLED_BY_OWNER if members["status"] == "disabled" else None
        members.setdefault("paused_until", None)
    if members.keys() & {"url", "status"}:
        members["resume_at"] = None
    return replace(as_of(endpoint, now), **members, updated_at=now)


def _check_headers_without_auth(headers: Mapping[str, str], auth: Auth | ShownAuth | None) -> None:
    if auth is not None and auth.type == "header" and (auth.name or "").lower() in {name.lower() for name in headers}:
        raise InvalidField("headers", "must not include the header set by auth")


def _shown(auth: Auth, headers: Mapping[str, str]) -> ShownAuth:
    check_auth(auth, headers)
    return ShownAuth(auth.type, auth.name)
