"""Hands messages to a listener that has no public address: it polls, waits, and reports the result of each.

A message is leased when it is handed out and due again if no result arrives. A listener that lost its connection
continues where it was, and what it had already forwarded comes once more under the same id, marked as repeated. A
listener with a name can be reopened: its position is its queue in the database and nothing else.
"""

import asyncio
import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from services.webhooks.domain.deliveries import Answer, ErrorCode, Target
from services.webhooks.domain.endpoints import MAX_ENDPOINTS, Endpoint, Format, Owner, ShownEndpoint
from services.webhooks.domain.errors import ListenerMissing, SecretUnreadable, TooManyEndpoints, UIDTaken
from services.webhooks.domain.signature import Signing, algorithms
from services.webhooks.sender.client import signed_headers
from services.webhooks.sender.signing import new_key, public_text, secret_text
from services.webhooks.store import endpoints, listeners, signing_keys, targets
from services.webhooks.store.listeners import Taken
from services.webhooks.usecases.create_endpoint import check_partner, check_types, first_keys, partner_of, shown_once
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.database.sealing import Seal
from shared.periodic import Periodic, wait_at_most

# A live listener polls every few seconds; one that is gone leaves nothing behind for long.
LIVES_ON: Final = timedelta(minutes=5)
# One with a name is kept longer; its deliveries must not expire before that.
NAMED_LIVES_ON: Final = timedelta(hours=72)
LEASE: Final = timedelta(seconds=60)
POLL_SECONDS: Final = 0.25
LISTENER_URL: Final = "listener"
COUNTED_WAITING: Final = 10_000
# No uid of an endpoint contains a slash, so the names of listeners are a separate set.
_NAMES: Final = "listener/"


@dataclass(frozen=True, slots=True)
class ListenerDraft:
    """A requested listener; with `is_from_now`, a reopened one gets none of the messages that have waited for it."""

    event_types: tuple[str, ...]
    format: Format
    signing: Signing
    partner_id: uuid.UUID | None
    name: str | None = None
    is_from_now: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """A listener with its secret, whether it was reopened, and how many messages wait for it."""

    shown: ShownEndpoint
    name: str | None
    is_resumed: bool = False
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Handed:
    """A message as a receiver would get it; the result must return `token`."""

    taken: Taken
    token: int
    headers: dict[str, str]


class ListenerHub:
    """Wakes the listeners that wait in this process; one query serves all of them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: dict[uuid.UUID, asyncio.Event] = {}
        self._is_closed = False
        self.task = Periodic("serve_listeners", POLL_SECONDS, self._look)

    async def wait(self, listener_id: uuid.UUID, seconds: float) -> None:
        """Return once there may be messages for a listener, the time is over, or the process is about to stop."""
        if self._is_closed:
            return
        event = self._waiting.setdefault(listener_id, asyncio.Event())
        await wait_at_most(event, seconds)
        self._waiting.pop(listener_id, None)

    def close(self) -> None:
        """Release all waiting requests."""
        self._is_closed = True
        for event in self._waiting.values():
            event.set()

    async def _look(self) -> None:
        """Wake the listeners that have due messages."""
        if not self._waiting:
            return
        async with self._database.connection() as connection:
            found = await listeners.have_due(connection, self._waiting, self._clock())
        for listener_id in found:
            if (event := self._waiting.get(listener_id)) is not None:
                event.set()


@dataclass(frozen=True, slots=True)
class Listen:
    """Opens listeners and answers their requests."""

    database: Database
    clock: Clock
    seal: Seal
    hub: ListenerHub
    new_id: Callable[[], uuid.UUID]

    async def open(self, owner: Owner, draft: ListenerDraft) -> Opened:
        """Return a listener with its secret: the existing one with that name, or a new one.

        Raises InvalidField, PartnerInactive or TooManyEndpoints.
        """
        partner_id = partner_of(owner, draft.partner_id)
        draft = replace(draft, event_types=check_types(draft.event_types, partner_id))
        whose = replace(owner, partner_id=partner_id)
        try:
            return await self._open(owner, whose, draft)
        except UIDTaken:
            # Another request has opened it at the same moment; now it exists.
            return await self._open(owner, whose, draft)

    async def _open(self, owner: Owner, whose: Owner, draft: ListenerDraft) -> Opened:
        now = self.clock()
        async with self.database.transaction() as connection:
            await check_partner(connection, owner, whose.partner_id)
            return await self._resume(connection, whose, draft, now) or await self._begin(connection, whose, draft, now)

    async def _begin(self, connection: Connection, whose: Owner, draft: ListenerDraft, now: datetime) -> Opened:
        if await endpoints.count(connection, whose.partner_id or whose.program_id) >= MAX_ENDPOINTS:
            raise TooManyEndpoints(MAX_ENDPOINTS)
        listener = Endpoint(
            id=self.new_id(),
            program_id=whose.program_id,
            partner_id=whose.partner_id,
            uid=None if draft.name is None else _NAMES + draft.name,
            url=LISTENER_URL,
            event_types=draft.event_types,
            format=draft.format,
            signing=draft.signing,
            status="paused",
            created_at=now,
            updated_at=now,
        )
        listener = replace(listener, listens_until=now + _lives_on(listener))
        await endpoints.insert(connection, listener, None, self.seal)
        keys = first_keys(draft.signing, None)
        for made in keys:
            await signing_keys.insert(
                connection, self.seal, self.new_id(), listener, made, now, made_by=whose.caller_id
            )
        return Opened(shown_once(listener, keys), draft.name)

    async def _resume(self, connection: Connection, whose: Owner, draft: ListenerDraft, now: datetime) -> Opened | None:
        """Reopen the listener with that name, with the new settings; it keeps its signing keys."""
        owner_id = whose.partner_id or whose.program_id
        found = None if draft.name is None else await listeners.find_named(connection, owner_id, _NAMES + draft.name)
        listener = None if found is None else await endpoints.lock(connection, whose, found, is_listener=True)
        if listener is None:
            return None
        listener = replace(
            listener, event_types=draft.event_types, format=draft.format, signing=draft.signing, updated_at=now
        )
        await endpoints.update(connection, listener)
        await listeners.prolong(connection, listener.id, now + _lives_on(listener))
        if draft.is_from_now:
            await listeners.forget(connection, listener.id, now)
        waiting = await listeners.count_waiting(connection, listener.id, COUNTED_WAITING)
        shown = await self._keys_again(connection, whose, listener, now)
        return Opened(shown, draft.name, is_resumed=True, waiting=waiting)

    async def _keys_again(
        self, connection: Connection, whose: Owner, listener: Endpoint, now: datetime
    ) -> ShownEndpoint:
        """Return a listener with its keys; creates one for each algorithm without a readable key."""
        opened = await signing_keys.list_opened(connection, self.seal, listener, now)
        live = {each.algorithm: each.key for each in opened if each.key is not None}
        for algorithm in algorithms(listener.signing):
            if algorithm not in live:
                made = new_key(algorithm)
                await signing_keys.insert(
                    connection, self.seal, self.new_id(), listener, made, now, made_by=whose.caller_id
                )
                live[algorithm] = made.key
        wanted = {algorithm: live[algorithm] for algorithm in algorithms(listener.signing)}
        public = {key.algorithm: key.public_key for key in await signing_keys.list_live(connection, listener.id, now)}
        pair = public.get("ed25519") if "ed25519" in wanted else None
        return ShownEndpoint(
            listener,
            secret_text(wanted["hmac"]) if "hmac" in wanted else None,
            None if pair is None else public_text(pair),
        )

    async def next(
        self,
        owner: Owner,
        listener_id: uuid.UUID,
        results: Sequence[tuple[uuid.UUID, int, Answer]],
        wait_seconds: float,
        limit: int,
    ) -> list[Handed]:
        """Record results and return due messages, waiting for them up to `wait_seconds`.

        Raises ListenerMissing, or SecretUnreadable: a reopened listener gets a new secret.
        """
        await self._report(owner, listener_id, results)
        if not limit:
            return []
        handed = await self._take(listener_id, limit)
        if not handed and wait_seconds:
            await self.hub.wait(listener_id, wait_seconds)
            handed = await self._take(listener_id, limit)
        return handed

    async def _report(
        self, owner: Owner, listener_id: uuid.UUID, results: Sequence[tuple[uuid.UUID, int, Answer]]
    ) -> None:
        now = self.clock()
        async with self.database.transaction() as connection:
            listener = await endpoints.lock(connection, owner, listener_id, is_listener=True)
            if listener is None:
                raise ListenerMissing
            await listeners.prolong(connection, listener_id, now + _lives_on(listener))
            if results:
                await listeners.finish(connection, listener_id, results, now)

    async def _take(self, listener_id: uuid.UUID, limit: int) -> list[Handed]:
        now = self.clock()
        token = secrets.randbits(53)
        async with self.database.transaction() as connection:
            taken = await listeners.take(connection, listener_id, now, now + LEASE, token, limit)
            if not taken:
                return []
            target = await targets.one(connection, self.seal, listener_id)
            if target.missing is not None:
                raise SecretUnreadable
        return [_handed(each, token, target, now) for each in taken]


def _lives_on(listener: Endpoint) -> timedelta:
    return LIVES_ON if listener.uid is None else NAMED_LIVES_ON


def _handed(taken: Taken, token: int, target: Target, now: datetime) -> Handed:
    outgoing = target.outgoing(taken.message_id, taken.format, taken.body, now, taken.sequence, taken.traceparent)
    return Handed(taken, token, signed_headers(outgoing, int(now.timestamp())))


def answer_of(
    now: datetime, duration_ms: int, status: int | None, error_code: str | None, response: str | None
) -> Answer:
    """Return what a listener reports as an answer."""
    code: ErrorCode | None = None
    if status is None:
        code = "timeout" if error_code == "timeout" else "connect_failed"
    return Answer(now - timedelta(milliseconds=duration_ms), duration_ms, status, code, response)
