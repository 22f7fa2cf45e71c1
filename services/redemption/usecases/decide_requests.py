"""Decides what checkouts ask over HTTP, in groups: redemptions, reservations and voids share their transactions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from services.redemption.domain.customers import Digests
from services.redemption.usecases.announce_decisions import Written
from services.redemption.usecases.decide_batch import Ask, Outcome, decide_batch, report
from shared.database.pool import Connection
from shared.events.envelope import OutboxEvent
from shared.grouping import Grouping, Results, Work


@dataclass(frozen=True, slots=True)
class DecideRequests(Work[Ask, Outcome, Written]):
    """Decides a group in the order in which its requests came."""

    hand_over: Callable[[Sequence[OutboxEvent]], None]
    digests: Digests

    async def decide(
        self, connection: Connection, asks: Sequence[Ask], now: datetime, *, is_again: bool
    ) -> Results[Outcome, Written]:
        """Decide all of them; raises TermsChanged."""
        decided = await decide_batch(connection, asks, now, self.digests, is_again=is_again)
        return Results(decided.outcomes, decided.written)

    def committed(self, written: Written) -> None:
        """Hand the events over, count and log."""
        self.hand_over(written.events)
        report(written)


Requests: TypeAlias = Grouping[Ask, Outcome, Written]
