"""Hands messages live to a listener that has no public address: it asks, waits, and reports what came of each.

A message is leased when it is handed out and due again if no result comes: a listener that lost its connection goes on
where it was, and what it had already forwarded comes once more under the same id.
"""

import asyncio
import secrets
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.webhooks.domain.deliveries import Answer, ErrorCode, Target
from services.webhooks.domain.endpoints import MAX_ENDPOINTS, Endpoint, Format, Owner, ShownEndpoint
from services.webhooks.domain.errors import ListenerMissing, TooManyEndpoints
from services.webhooks.domain.signature import Signing
from services.webhooks.sender.client import signed_headers
from services.webhooks.store import endpoints, listeners
from services.webhooks.store.listeners import Taken
from services.webhooks.usecases.create_endpoint import check_partner, check_types, first_keys, partner_of, shown_once
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.sealing import Seal
from shared.faults import TransientFault
from shared.log import get_logger

# Between two questions of a listener that lives there are seconds; one that is gone leaves nothing behind for long.
LIVES_ON: Final = timedelta(minutes=5)
LEASE: Final = timedelta(seconds=60)
POLL_SECONDS: Final = 0.25
LISTENER_URL: Final = "listener"


@dataclass(frozen=True, slots=True)
class ListenerDraft:
    """A listener as asked for."""

    event_types: tuple[str, ...]
    format: Format
    signing: Signing
    partner_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Handed:
    """A message as a receiver would get it; `token` has to come back with the result."""

    taken: Taken
    token: int
    headers: dict[str, str]


class ListenerHub:
    """Wakes the listeners that wait in this process; one look at the table serves all of them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: dict[uuid.UUID, asyncio.Event] = {}
        self._is_wanted = asyncio.Event()
        self._is_closed = False

    async def wait(self, listener_id: uuid.UUID, seconds: float) -> None:
        """Return once there may be something for a listener, or the time is over, or the process is about to end."""
        if self._is_closed:
            return
        event = self._waiting.setdefault(listener_id, asyncio.Event())
        self._is_wanted.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        self._waiting.pop(listener_id, None)

    def close(self) -> None:
        """Let everybody go."""
        self._is_closed = True
        for event in self._waiting.values():
            event.set()

    async def run(self) -> None:
        """Look for whoever waits, until cancelled."""
        while True:
            if not self._waiting:
                self._is_wanted.clear()
                await self._is_wanted.wait()
            try:
                async with self._database.connection() as connection:
                    found = await listeners.have_due(connection, self._waiting, self._clock())
            except TransientFault as fault:
                get_logger().warning("listeners_not_served", reason=str(fault))
                found = []
            for listener_id in found:
                if (event := self._waiting.get(listener_id)) is not None:
                    event.set()
            await asyncio.sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Listen:
    """Opens listeners and answers their questions."""

    database: Database
    clock: Clock
    seal: Seal
    hub: ListenerHub
    new_id: Callable[[], uuid.UUID]

    async def open(self, owner: Owner, draft: ListenerDraft) -> ShownEndpoint:
        """Return a new listener with its secret. Raises InvalidField or TooManyEndpoints."""
        partner_id = partner_of(owner, draft.partner_id)
        keys = first_keys(draft.signing, None)
        event_types = check_types(draft.event_types, partner_id)
        now = self.clock()
        async with self.database.transaction() as connection:
            if partner_id is not None and owner.partner_id is None:
                await check_partner(connection, owner.program_id, partner_id)
            if await endpoints.count(connection, partner_id or owner.program_id) >= MAX_ENDPOINTS:
                raise TooManyEndpoints(MAX_ENDPOINTS)
            listener = Endpoint(
                id=self.new_id(),
                program_id=owner.program_id,
                partner_id=partner_id,
                url=LISTENER_URL,
                event_types=event_types,
                format=draft.format,
                signing=draft.signing,
                status="paused",
                listens_until=now + LIVES_ON,
                created_at=now,
                updated_at=now,
            )
            await endpoints.insert(connection, listener, None, self.seal)
            for made in keys:
                await endpoints.insert_key(connection, self.seal, self.new_id(), listener.id, made, now)
        return shown_once(listener, keys)

    async def next(
        self,
        owner: Owner,
        listener_id: uuid.UUID,
        results: Sequence[tuple[uuid.UUID, int, Answer]],
        wait_seconds: float,
        limit: int,
    ) -> list[Handed]:
        """Take results in and return what is due, waiting for it up to `wait_seconds`. Raises ListenerMissing."""
        await self._report(owner, listener_id, results)
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
            if await endpoints.lock(connection, owner, listener_id, is_listener=True) is None:
                raise ListenerMissing
            await listeners.prolong(connection, listener_id, now + LIVES_ON)
            if results:
                await listeners.finish(connection, listener_id, results, now)

    async def _take(self, listener_id: uuid.UUID, limit: int) -> list[Handed]:
        now = self.clock()
        token = secrets.randbits(53)
        async with self.database.connection() as connection:
            taken = await listeners.take(connection, listener_id, now, now + LEASE, token, limit)
            if not taken:
                return []
            target = (await endpoints.targets(connection, self.seal, [listener_id]))[listener_id]
        return [_handed(each, token, target, now) for each in taken]


def _handed(taken: Taken, token: int, target: Target, now: datetime) -> Handed:
    outgoing = target.outgoing(taken.message_id, taken.format, taken.body, now, taken.sequence)
    return Handed(taken, token, signed_headers(outgoing, int(now.timestamp())))


def answer_of(
    now: datetime, duration_ms: int, status: int | None, error_code: str | None, response: str | None
) -> Answer:
    """Return what a listener reports as the answer that it is."""
    code: ErrorCode | None = None
    if status is None:
        code = "timeout" if error_code == "timeout" else "connect_failed"
    return Answer(now - timedelta(milliseconds=duration_ms), duration_ms, status, code, response)
