"""Runs replays step by step. Each step is one transaction, so after a crash the next worker continues behind it."""

import asyncio
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from services.webhooks.domain.bodies import message_format
from services.webhooks.domain.endpoints import Endpoint, Owner
from services.webhooks.domain.event_types import EVERYTHING
from services.webhooks.domain.replays import Replay, Step
from services.webhooks.domain.schedule import LIFETIME
from services.webhooks.store import endpoints, replays
from services.webhooks.usecases.delivery_queue import Wake
from services.webhooks.usecases.endpoint_events import HandOver
from shared.clock import Clock
from shared.database import outbox
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.events.webhooks import WebhookReplayCompletedV1
from shared.faults import TransientFault
from shared.ids import earliest_id, new_id
from shared.known_ids import FIRST_ID
from shared.log import get_logger
from shared.periodic import Failing, Periodic

LEASE: Final = timedelta(seconds=30)
POLL_SECONDS: Final = 2.0
# Concurrent steps over all replays: replays take turns, so a long one does not hold up the others. A slow replay mostly
# sleeps, so far more are taken up; no owner has more than a tenth of them (MAX_LIVE_REPLAYS).
MAX_AT_ONCE: Final = 8
MAX_TAKEN_UP: Final = 200
# How many messages of a program one step searches for missing ones.
_SLICE: Final = 5000
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(slots=True)
class RunReplays:
    """The worker. Several processes share the replays by leases; a canceled one ends with its next step."""

    database: Database
    clock: Clock
    new_id: Callable[[], uuid.UUID]
    wake_courier: Wake
    hand_over: HandOver
    task: Periodic = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_AT_ONCE))
    _failing: Failing = field(default_factory=lambda: Failing(2 * LEASE.total_seconds()))

    def __post_init__(self) -> None:
        self.task = Periodic("run_replays", POLL_SECONDS, self._take_up, wake=self._wake)

    def wake(self) -> None:
        """Notice that there is a new replay."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await self.task.run()
        finally:
            for working in self._under_way:
                working.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def step(self, replay: Replay) -> int | None:
        """Run one step and return how many deliveries are due now; None when the replay has finished."""
        now = self.clock()
        events: list[OutboxEvent] = []
        async with self.database.transaction() as connection:
            current = await replays.lock(connection, replay.id, replay.token or 0)
            if current is None:
                return None
            endpoint = await endpoints.find(
                connection, Owner(current.program_id, current.partner_id), current.endpoint_id
            )
            if endpoint is None:
                await replays.finish(connection, current.id, "canceled", Step(0, 0, 0, None), now)
                return None
            if current.which == "missing":
                done = await self._missing(connection, current, endpoint, now)
            else:
                done = await self._existing(connection, current, now)
            if done.position is None:
                await replays.finish(connection, current.id, "completed", done, now)
                if not current.is_dry_run:
                    events.append(_completed_event(current, done, now))
                    await outbox.insert_events(connection, events)
            else:
                await replays.advance(connection, current.id, done, now + LEASE)
        self.hand_over(events)
        if done.enqueued:
            self.wake_courier()
        return None if done.position is None else done.enqueued

    async def _take_up(self) -> None:
        while len(self._under_way) < MAX_TAKEN_UP and (replay := await self.claim()) is not None:
            working = asyncio.create_task(self.work(replay))
            self._under_way.add(working)
            working.add_done_callback(self._under_way.discard)
        self._failing.raise_if_any()

    async def claim(self) -> Replay | None:
        """Lease the oldest replay that no worker holds."""
        now = self.clock()
        async with self.database.connection() as connection:
            return await replays.claim(connection, secrets.randbits(62), now + LEASE, now)

    async def work(self, replay: Replay) -> None:
        """Continue to the end; after a fault the lease expires and another worker continues."""
        log = get_logger().bind(replay_id=str(replay.id))
        log.info("replay_taken_up", which=replay.which, endpoint_id=str(replay.endpoint_id))
        try:
            while (enqueued := await self._step_in_turn(replay)) is not None:  # noqa: ASYNC110 - this is the pace
                await asyncio.sleep(enqueued / replay.rate_per_second)
        except TransientFault as fault:
            log.warning("replay_delayed", reason=str(fault))
        except Exception as error:  # noqa: BLE001 - a replay that cannot go on must not keep the others from going on
            log.warning("replay_delayed", reason=type(error).__name__)
            self._failing.note(replay.id, error)
        else:
            log.info("replay_left")
            self._failing.forget(replay.id)

    async def _step_in_turn(self, replay: Replay) -> int | None:
        async with self._turns:
            return await self.step(replay)

    async def _existing(self, connection: Connection, replay: Replay, now: datetime) -> Step:
        """Make the next dead letters, or deliveries with any result, due again."""
        after = replay.position_id or earliest_id(replay.since)
        found, following = await replays.page(connection, replay, after, earliest_id(replay.until + _MILLISECOND))
        position = None if following is None else (None, following)
        if not found:
            return Step(0, 0, 0, position)
        whole = await replays.whole(connection, [(message, form) for _, message, form in found])
        chosen = [id_ for id_, message, form in found if (message, form) in whole]
        enqueued = 0
        if not replay.is_dry_run:
            enqueued = len(await replays.revive(connection, chosen, replay.id, now, now + LIFETIME))
        return Step(len(found), enqueued, len(found) - len(chosen), position)

    async def _missing(self, connection: Connection, replay: Replay, endpoint: Endpoint, now: datetime) -> Step:
        """Create deliveries of messages that were never sent to the endpoint."""
        after = (replay.position_at or replay.since, replay.position_id or FIRST_ID)
        end = await replays.slice_end(connection, replay, after, _SLICE)
        if end is None:
            return Step(0, 0, 0, None)
        form = message_format(endpoint.format, endpoint.partner_id)
        subscribed = None if EVERYTHING in endpoint.event_types else list(endpoint.event_types)
        found = await replays.missing(connection, replay, after, end, form, subscribed)
        whole = await replays.whole(connection, [(id_, form) for id_, _, form, _ in found])
        made = [(self.new_id(), id_, form, type_) for id_, _, form, type_ in found if (id_, form) in whole]
        enqueued = 0
        if made and not replay.is_dry_run:
            ends_at = now + LIFETIME
            enqueued = len(await replays.insert_missing(connection, replay.endpoint_id, replay.id, made, now, ends_at))
        position = end if len(found) < replay.step_size else (found[-1][1], found[-1][0])
        return Step(len(found), enqueued, len(found) - len(made), position)


def _completed_event(replay: Replay, last: Step, now: datetime) -> OutboxEvent:
    return WebhookReplayCompletedV1(
        program_id=replay.program_id,
        partner_id=replay.partner_id,
        endpoint_id=replay.endpoint_id,
        replay_id=replay.id,
        which=replay.which,
        matched=replay.matched + last.matched,
        enqueued=replay.enqueued + last.enqueued,
        skipped=replay.skipped + last.skipped,
        completed_at=now,
    ).to_event(new_id(), now)
