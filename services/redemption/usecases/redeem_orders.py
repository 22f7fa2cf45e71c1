"""Redeems the codes of paid orders, a batch at a time: locks, then reads, then decides, then writes, then announces.

One transaction per batch. A statement that waits for a row lock re-reads that row alone, so nothing that decides is
read before or while locking.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.redemption.domain.decision import Books, Count, Redeemed, decide
from services.redemption.domain.terms import CodeTerms
from services.redemption.store.books import Shelf, TermsChanged, find_programs, find_redeemed, read_terms
from services.redemption.store.locks import Locked, lock
from services.redemption.store.outcomes import CountRow, insert_redemptions, insert_rejections
from services.redemption.usecases.announce_decisions import CompletedCheckout, Written, write_redeemed, write_refused
from shared.clock import Clock
from shared.database import inbox
from shared.database.inbox import InboxEntry, Verdict
from shared.database.outbox import insert_events
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.faults import TransientFault
from shared.log import get_logger
from shared.metrics import REDEMPTIONS, REDEMPTIONS_REJECTED

_TRIES = 3


@dataclass(frozen=True, slots=True)
class RedeemOrders:
    """Decides a batch of completed checkouts and hands the resulting events over once they are committed."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(self, checkouts: Sequence[CompletedCheckout]) -> list[Verdict]:
        """Take in each checkout once, in the order given, and say of each whether it was fresh.

        Raises TransientFault if the batch is to be tried again; a try that did commit leaves only duplicates behind.
        """
        for _ in range(_TRIES):
            try:
                async with self.database.transaction() as connection:
                    verdicts, written = await self._take_in(connection, checkouts)
            except TermsChanged:
                continue
            self.hand_over(written.events)
            _report(written)
            return verdicts
        raise TransientFault("The limits of the coupons change faster than they can be locked.")

    async def _take_in(
        self, connection: Connection, checkouts: Sequence[CompletedCheckout]
    ) -> tuple[list[Verdict], Written]:
        verdicts = await inbox.record(
            connection,
            [
                InboxEntry(c.purchase.program_id, c.purchase.source, c.purchase.event_id, c.body_sha256)
                for c in checkouts
            ],
            [c.received_at for c in checkouts],
        )
        fresh = [c for c, verdict in zip(checkouts, verdicts, strict=True) if verdict == "fresh"]
        written = Written()
        if fresh:
            await self._redeem(connection, fresh, written)
        return verdicts, written

    async def _redeem(self, connection: Connection, fresh: Sequence[CompletedCheckout], written: Written) -> None:
        now = self.clock()
        orders = list(dict.fromkeys((c.purchase.program_id, c.purchase.order_ref) for c in fresh))
        locked = await lock(connection, orders, _strings(fresh), now)
        shelf = await read_terms(connection, locked)
        books = await _open_books(connection, fresh, orders, locked, shelf)
        for checkout in fresh:
            decision = decide(checkout.purchase, books)
            if isinstance(decision, Redeemed):
                write_redeemed(checkout, decision, now, written)
            else:
                write_refused(checkout, decision, now, written)
        if written.redemptions:
            codes, coupons = _moved(shelf)
            await insert_redemptions(connection, written.redemptions, codes, coupons, now)
        if written.rejections:
            await insert_rejections(connection, written.rejections, now)
        await insert_events(connection, written.events)


def _strings(checkouts: Sequence[CompletedCheckout]) -> list[tuple[uuid.UUID, str]]:
    return list(
        dict.fromkeys(
            (c.purchase.program_id, code.canonical)
            for c in checkouts
            for code in c.purchase.codes
            if code.canonical is not None
        )
    )


async def _open_books(
    connection: Connection,
    fresh: Sequence[CompletedCheckout],
    orders: Sequence[tuple[uuid.UUID, str]],
    locked: Locked,
    shelf: Shelf,
) -> Books:
    candidates: dict[tuple[uuid.UUID, str], list[CodeTerms]] = {}
    for terms in shelf.terms:
        candidates.setdefault((terms.program_id, terms.canonical), []).append(terms)
    # An order whose row was made just now has no redemptions yet.
    old_orders = [order for order in orders if order not in locked.fresh_orders]
    redeemed = await find_redeemed(connection, old_orders) if old_orders else set()
    known = {terms.program_id for terms in shelf.terms}
    if doubtful := {c.purchase.program_id for c in fresh} - known:
        known |= await find_programs(connection, list(doubtful))
    return Books(candidates, shelf.code_counts, shelf.coupon_counts, redeemed, known)


def _moved(shelf: Shelf) -> tuple[list[CountRow], list[CountRow]]:
    codes = {terms.code_id: terms.code_limit for terms in shelf.terms}
    coupons = {terms.coupon_id: terms.coupon_limit for terms in shelf.terms}
    return _count_rows(shelf.code_counts, codes), _count_rows(shelf.coupon_counts, coupons)


def _count_rows(counts: dict[uuid.UUID, Count], limits: dict[uuid.UUID, int | None]) -> list[CountRow]:
    return [CountRow(key, count.uses, count.version, limits[key]) for key, count in counts.items() if count.is_moved]


def _report(written: Written) -> None:
    REDEMPTIONS.inc(len(written.redemptions))
    for row in written.rejections:
        REDEMPTIONS_REJECTED.labels(row.reason).inc()
        get_logger().info(
            "order_refused",
            program_id=str(row.program_id),
            order_ref=row.order_ref,
            event_id=row.event_id,
            reason=row.reason,
        )
