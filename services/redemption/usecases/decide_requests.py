"""Decides checkouts' requests over HTTP in groups: redemptions, reservations and voids share transactions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from services.redemption.domain.customers import Digests
from services.redemption.domain.errors import Missing
from services.redemption.domain.purchase import VoidById
from services.redemption.store.history import find_orders_of
from services.redemption.usecases.decide_batch import Outcome, decide_batch
from services.redemption.usecases.purchases import Ask
from services.redemption.usecases.record_decisions import Written, report
from shared.database.pool import Connection
from shared.events.envelope import OutboxEvent
from shared.grouping import Grouping, Results, Work

Request: TypeAlias = Ask | VoidById


@dataclass(frozen=True, slots=True)
class DecideRequests(Work[Request, Outcome, Written]):
    """Decides a group in its requests' order of arrival."""

    hand_over: Callable[[Sequence[OutboxEvent]], None]
    digests: Digests

    async def decide(
        self, connection: Connection, asks: Sequence[Request], now: datetime, *, is_again: bool
    ) -> Results[Outcome, Written]:
        """Decide all of them; a void without a redemption of its program is Missing. Raises TermsChanged."""
        placed = await _place_voids(connection, asks)
        found = [ask for ask in placed if ask is not None]
        if not found:
            return Results([Missing() for _ in asks], Written())
        decided = await decide_batch(connection, found, now, self.digests, is_again=is_again)
        outcomes = iter(decided.outcomes)
        return Results([Missing() if ask is None else next(outcomes) for ask in placed], decided.written)

    def committed(self, written: Written) -> None:
        """Hand over the events, count and log."""
        self.hand_over(written.events)
        report(written)


async def _place_voids(connection: Connection, asks: Sequence[Request]) -> list[Ask | None]:
    """Find the orders of redemptions that are voided by id; None stands for a missing one."""
    wanted = [(ask.program_id, ask.redemption_id) for ask in asks if isinstance(ask, VoidById)]
    found = await find_orders_of(connection, wanted) if wanted else {}
    placed: list[Ask | None] = []
    for ask in asks:
        if not isinstance(ask, VoidById):
            placed.append(ask)
        elif (order_ref := found.get((ask.program_id, ask.redemption_id))) is not None:
            placed.append(ask.within(order_ref))
        else:
            placed.append(None)
    return placed


Requests: TypeAlias = Grouping[Request, Outcome, Written]
