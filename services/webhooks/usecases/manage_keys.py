"""Rotates, shows and revokes the signing keys of an endpoint; a new key signs beside the old ones for a while."""

import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.webhooks.domain.endpoints import Endpoint, Owner, ShownEndpoint, as_of
from services.webhooks.domain.errors import EndpointMissing, InvalidField, KeyUnknown, LastKey, TooManyKeys
from services.webhooks.domain.signature import MAX_LIVE_KEYS, Algorithm, MadeKey, ShownKey, algorithms
from services.webhooks.sender.signing import new_key
from services.webhooks.store import endpoints, signing_keys
from services.webhooks.usecases import endpoint_events
from services.webhooks.usecases.change_endpoint import check_version
from services.webhooks.usecases.create_endpoint import read_own_key, shown_once
from services.webhooks.usecases.delivery_queue import Renew
from services.webhooks.usecases.endpoint_events import HandOver
from shared.clock import Clock
from shared.database import outbox
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection, Database
from shared.database.sealing import Seal
from shared.events.envelope import OutboxEvent
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class Rotation:
    """A requested rotation; without an algorithm, of every algorithm that the endpoint signs with."""

    grace: timedelta
    algorithm: Algorithm | None = None
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class ManageKeys:
    """The keys of one endpoint; their secrets are shown only once."""

    database: Database
    clock: Clock
    answer_once: AnswerOnce
    seal: Seal
    new_id: Callable[[], uuid.UUID]
    renew: Renew
    hand_over: HandOver

    async def rotate(
        self,
        owner: Owner,
        endpoint_id: uuid.UUID,
        rotation: Rotation,
        once: Once[ShownEndpoint],
        versions: Collection[int] | None = None,
    ) -> Answer:
        """Add a key, set the expiry of the others of its algorithm, and return the endpoint with its new secret.

        `versions` as for a change of the endpoint.

        Raises EndpointMissing, EndpointOutdated, InvalidField or TooManyKeys.
        """
        own = None if rotation.secret is None else read_own_key(rotation.secret)
        if own is not None and rotation.algorithm not in (None, own.key.algorithm):
            raise InvalidField("secret", f"must be a key for {rotation.algorithm}")
        events: list[OutboxEvent] = []

        async def work(connection: Connection, now: datetime) -> ShownEndpoint:
            endpoint = await endpoints.lock(connection, owner, endpoint_id)
            if endpoint is None:
                raise EndpointMissing
            check_version(endpoint, versions)
            keys = _new_keys(endpoint, rotation, own)
            for made in keys:
                algorithm = made.key.algorithm
                await signing_keys.expire(connection, endpoint_id, algorithm, now, now + rotation.grace)
                if await signing_keys.count_live(connection, endpoint_id, algorithm, now) >= MAX_LIVE_KEYS:
                    raise TooManyKeys(MAX_LIVE_KEYS)
                await signing_keys.insert(
                    connection, self.seal, self.new_id(), endpoint, made, now, made_by=owner.caller_id
                )
            events.append(endpoint_events.updated_event(endpoint, ["keys"], now))
            await outbox.insert_events(connection, events)
            return shown_once(await _again(connection, owner, endpoint, now), keys)

        answer = await self.answer_once(once, work)
        self.renew(endpoint_id)
        self.hand_over(events)
        return answer

    async def revoke(
        self, owner: Owner, endpoint_id: uuid.UUID, key_id: uuid.UUID, versions: Collection[int] | None = None
    ) -> tuple[Endpoint, list[ShownKey]]:
        """End a key at once; return the endpoint as it is now and the remaining keys.

        The last key of an algorithm that signs cannot be revoked. `versions` as for a change of the endpoint.

        Raises EndpointMissing, EndpointOutdated, KeyUnknown or LastKey.
        """
        now = self.clock()
        async with self.database.transaction() as connection:
            endpoint = await endpoints.lock(connection, owner, endpoint_id)
            if endpoint is None:
                raise EndpointMissing
            check_version(endpoint, versions)
            keys = await signing_keys.list_live(connection, endpoint_id, now)
            key = next((each for each in keys if each.id == key_id), None)
            if key is None:
                raise KeyUnknown
            alike = [each for each in keys if each.algorithm == key.algorithm]
            if len(alike) == 1 and key.algorithm in algorithms(endpoint.signing):
                raise LastKey
            if key is alike[0] and len(alike) > 1:
                # The newest key does not expire; the key that takes its place must not either.
                await signing_keys.prolong(connection, endpoint_id, alike[1].id)
            await signing_keys.delete(connection, endpoint_id, key_id, now)
            left = await signing_keys.list_live(connection, endpoint_id, now)
            events = [endpoint_events.updated_event(endpoint, ["keys"], now)]
            await outbox.insert_events(connection, events)
            endpoint = await _again(connection, owner, endpoint, now)
        self.renew(endpoint_id)
        self.hand_over(events)
        return endpoint, left

    async def live(self, owner: Owner, endpoint_id: uuid.UUID) -> list[ShownKey]:
        """Return the active keys of an endpoint, the newest first. Raises EndpointMissing."""
        async with self.database.connection() as connection:
            if await endpoints.find(connection, owner, endpoint_id) is None:
                raise EndpointMissing
            return await signing_keys.list_live(connection, endpoint_id, self.clock())

    async def public(self, endpoint_id: uuid.UUID) -> list[ShownKey]:
        """Return the active ed25519 keys that verify an endpoint's messages; none for an unknown endpoint."""
        async with self.database.connection() as connection:
            return await signing_keys.public(connection, endpoint_id, self.clock())


async def _again(connection: Connection, owner: Owner, locked: Endpoint, now: datetime) -> Endpoint:
    """Return a locked endpoint as a change to its keys has left it."""
    return as_of(await endpoints.find(connection, owner, locked.id) or locked, now)


def _new_keys(endpoint: Endpoint, rotation: Rotation, own: MadeKey | None) -> list[MadeKey]:
    if own is not None:
        return [own]
    wanted = algorithms(endpoint.signing) if rotation.algorithm is None else (rotation.algorithm,)
    return [new_key(algorithm) for algorithm in wanted]
