"""Handles checkouts' events, a batch at a time: each event once, decided in one transaction, then announced."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from services.redemption.domain.customers import Digests
from services.redemption.domain.purchase import Cancellation
from services.redemption.usecases.decide_batch import Decided, decide_batch
from services.redemption.usecases.purchases import CompletedCheckout
from services.redemption.usecases.record_decisions import report
from shared.clock import Clock
from shared.database import inbox
from shared.database.inbox import InboxEntry, Verdict
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.starting_over import until_it_stands


class CheckoutEvent(NamedTuple):
    """A valid event of a checkout, and its identity for recognising repeats."""

    program_id: uuid.UUID
    source: str
    event_id: str
    body_sha256: bytes
    received_at: datetime
    ask: CompletedCheckout | Cancellation


@dataclass(frozen=True, slots=True)
class TakeInCheckouts:
    """Decides a batch of checkout events and hands the resulting events over once they are committed."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]
    digests: Digests

    async def __call__(self, events: Sequence[CheckoutEvent]) -> list[Verdict]:
        """Handle each event once, in the given order, and return the verdict on each.

        Raises TransientFault if the batch must be tried again; if a try did commit, the next finds only duplicates.
        """

        async def take_in(is_again: bool) -> tuple[list[Verdict], Decided | None]:
            async with self.database.transaction() as connection:
                return await self._take_in(connection, events, is_again=is_again)

        verdicts, decided = await until_it_stands(take_in)
        if decided is not None:
            self.hand_over(decided.written.events)
            report(decided.written)
        return verdicts

    async def _take_in(
        self, connection: Connection, events: Sequence[CheckoutEvent], *, is_again: bool
    ) -> tuple[list[Verdict], Decided | None]:
        verdicts = await inbox.record(
            connection,
            [InboxEntry(e.program_id, e.source, e.event_id, e.body_sha256) for e in events],
            [e.received_at for e in events],
        )
        fresh = [event.ask for event, verdict in zip(events, verdicts, strict=True) if verdict == "fresh"]
        if not fresh:
            return verdicts, None
        return verdicts, await decide_batch(connection, fresh, self.clock(), self.digests, is_again=is_again)
