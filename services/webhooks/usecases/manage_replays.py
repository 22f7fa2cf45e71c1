"""Creates, shows and cancels replays; the work itself is in `run_replays`."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.errors import EndpointMissing, ReplayEnded, ReplayMissing, TooManyReplays
from services.webhooks.domain.replays import MAX_LIVE_REPLAYS, Replay, ReplayDraft, ReplayPage, ReplayProgress, window
from services.webhooks.store import endpoints, replays
from shared.clock import Clock
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection, Database
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class ManageReplays:
    """Replays with their progress; `wake` makes a worker pick up a new one at once."""

    database: Database
    clock: Clock
    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]
    wake: Callable[[], None]

    async def create(self, owner: Owner, draft: ReplayDraft, once: Once[ReplayProgress]) -> Answer:
        """Store a replay and return it. Raises EndpointMissing, InvalidField or TooManyReplays."""

        async def work(connection: Connection, now: datetime) -> ReplayProgress:
            since, until = window(draft.since, draft.until, now)
            endpoint = await endpoints.find(connection, owner, draft.endpoint_id)
            if endpoint is None:
                raise EndpointMissing(f"There is no endpoint with id {draft.endpoint_id}.")
            if await replays.count_live(connection, endpoint.program_id, endpoint.partner_id) >= MAX_LIVE_REPLAYS:
                raise TooManyReplays(MAX_LIVE_REPLAYS)
            replay = Replay(
                id=self.new_id(),
                program_id=endpoint.program_id,
                partner_id=endpoint.partner_id,
                endpoint_id=endpoint.id,
                which=draft.which,
                event_types=draft.event_types,
                since=since,
                until=until,
                is_dry_run=draft.is_dry_run,
                rate_per_second=draft.rate_per_second,
                created_at=now,
            )
            await replays.insert(connection, replay)
            return ReplayProgress(replay, 0, 0, 0, is_whole=True)

        answer = await self.answer_once(once, work)
        self.wake()
        return answer

    async def one(self, owner: Owner, replay_id: uuid.UUID) -> ReplayProgress:
        """Return a replay. Raises ReplayMissing."""
        async with self.database.connection() as connection:
            found = await replays.find(connection, owner, replay_id)
        if found is None:
            raise ReplayMissing
        return found

    async def page(
        self, owner: Owner, endpoint_id: uuid.UUID | None, before: uuid.UUID | None, limit: int
    ) -> ReplayPage:
        """Return up to `limit` replays, the newest first; a filtered page may be short."""
        async with self.database.connection() as connection:
            return await replays.list_page(connection, owner, endpoint_id, before, limit)

    async def cancel(self, owner: Owner, replay_id: uuid.UUID) -> ReplayProgress:
        """Cancel a replay; deliveries that are already due are still sent. Raises ReplayMissing or ReplayEnded."""
        async with self.database.transaction() as connection:
            is_canceled = await replays.cancel(connection, owner, replay_id, self.clock())
            found = await replays.find(connection, owner, replay_id)
        if found is None:
            raise ReplayMissing
        if not is_canceled:
            raise ReplayEnded
        return found
