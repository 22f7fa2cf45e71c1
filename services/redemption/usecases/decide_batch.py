"""One transaction's work: locks, then reads, then decides request by request, then writes.

A statement that waits for a row lock re-reads that row alone, so nothing that decides is read before or while locking.
"""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from services.redemption.domain.books import Books, OrderBook
from services.redemption.domain.customers import Digests
from services.redemption.domain.decision import Redeemed, RedeemedLate, decide
from services.redemption.domain.judgement import Refused
from services.redemption.domain.purchase import Cancellation, HoldRequest, OrderKey, Purchase, VoidRequest
from services.redemption.domain.reserving import Reserved, reserve
from services.redemption.domain.voiding import Cancelled, cancel, void_one
from services.redemption.store.customers import share_customers
from services.redemption.store.history import find_reservations, read_orders
from services.redemption.store.locks import Locked, lock, lock_customers
from services.redemption.store.outcomes import (
    CodeCountRow,
    CouponCountRow,
    delete_idle_orders,
    insert_redemptions,
    insert_refunds,
    update_redemptions,
    write_limits,
    write_orders,
)
from services.redemption.store.rejections import insert_rejections
from services.redemption.store.terms import Shelf, TermsChanged
from services.redemption.usecases.announce_decisions import (
    CompletedCheckout,
    Written,
    write_cancelled,
    write_late,
    write_redeemed,
    write_refused,
    write_turned_away,
)
from services.redemption.usecases.open_books import (
    customers_of,
    names_of_past,
    open_books,
    past_customers,
    strings_of,
)
from services.redemption.usecases.recognise_erased import customers_in, recognise, without_past
from shared.database.outbox import insert_events
from shared.database.pool import Connection
from shared.log import get_logger
from shared.metrics import REDEMPTIONS, REDEMPTIONS_REJECTED, REDEMPTIONS_VOIDED, RESERVATIONS
from shared.trace import trace_facts

LONGEST_HOLD: Final = timedelta(days=7)

Ask: TypeAlias = CompletedCheckout | HoldRequest | Cancellation | VoidRequest
Outcome: TypeAlias = Redeemed | RedeemedLate | Refused | Reserved | Cancelled


@dataclass(frozen=True, slots=True)
class Decided:
    """One outcome per request, and what was written; its events are handed over after the commit."""

    outcomes: list[Outcome]
    written: Written


async def decide_batch(
    connection: Connection, asks: Sequence[Ask], now: datetime, digests: Digests, *, is_again: bool = False
) -> Decided:
    """Decide requests in the order given; raises TermsChanged if the transaction is to be started again.

    `is_again` says that it was: then all codes of the orders are locked, not only those that are asked for.
    """
    asks = await _with_reservations(connection, asks)
    purchases = [ask.purchase for ask in asks if isinstance(ask, CompletedCheckout | HoldRequest)]
    locked, history = await _lock(connection, asks, purchases, now, is_again=is_again)
    # Not before something is locked: an erasure waits for the transactions that may not know of it.
    past = names_of_past(history, locked, several := _several(asks, history))
    if locked.counted_customers:
        await share_customers(connection, customers_in(purchases) | past)
    purchases, aliases = await recognise(connection, purchases, digests, past)
    if aliases:
        asks = _with_purchases(asks, purchases)
    customers = customers_of(purchases, locked, aliases) | past_customers(history, locked, several, aliases)
    if customers:
        await lock_customers(connection, customers)
    books, shelf = await open_books(connection, purchases, customers, locked, history, now=now, aliases=aliases)
    written = Written()
    outcomes = [_decide(ask, books, now, written) for ask in asks]
    await _write(connection, books, shelf, written, locked.fresh_orders, now)
    if idle := _idle(locked, books, written):
        await delete_idle_orders(connection, idle)
    return Decided(outcomes, written)


async def _with_reservations(connection: Connection, asks: Sequence[Ask]) -> Sequence[Ask]:
    """Name the orders under which reservations were made, for purchases that name one; that never changes."""
    wanted = {
        (ask.purchase.program_id, ask.purchase.reservation_id)
        for ask in asks
        if isinstance(ask, CompletedCheckout) and ask.purchase.reservation_id is not None
    }
    if not wanted:
        return asks
    found = await find_reservations(connection, list(wanted))
    return [
        replace(ask, purchase=replace(ask.purchase, reserved_ref=reserved_ref))
        if isinstance(ask, CompletedCheckout)
        and ask.purchase.reservation_id is not None
        and (reserved_ref := found.get((ask.purchase.program_id, ask.purchase.reservation_id))) is not None
        else ask
        for ask in asks
    ]


def _with_purchases(asks: Sequence[Ask], purchases: Sequence[Purchase]) -> Sequence[Ask]:
    """Put recognised purchases in the place of those that were asked about."""
    left = iter(purchases)
    return [
        without_past(replace(ask, purchase=next(left)))
        if isinstance(ask, CompletedCheckout)
        else replace(ask, purchase=next(left))
        if isinstance(ask, HoldRequest)
        else ask
        for ask in asks
    ]


async def _lock(
    connection: Connection, asks: Sequence[Ask], purchases: Sequence[Purchase], now: datetime, *, is_again: bool
) -> tuple[Locked, dict[OrderKey, OrderBook]]:
    """Lock everything but customers, and return what the orders have done."""
    orders = _orders(asks)
    taken_back = {ask.order for ask in asks if isinstance(ask, Cancellation | VoidRequest)}
    if not taken_back and not is_again:
        locked = await lock(connection, orders, strings_of(purchases), now)
        history = await _history(connection, orders, locked, now)
        # A purchase of an order of which a part went back may void its other codes. That is rare, and known only now.
        if not _changeable(history).issubset(locked.code_ids):
            raise TermsChanged
        return locked, history
    # Which codes an order has is known once it is locked, and orders come before codes for everybody.
    first = await lock(connection, orders, (), now)
    history = await _history(connection, orders, first, now)
    code_ids = {r.code_id for order in taken_back if order in history for r in history[order].redemptions}
    code_ids |= _changeable(history)
    locked = await lock(connection, (), strings_of(purchases), now, list(code_ids))
    return replace(locked, fresh_orders=first.fresh_orders), history


def _changeable(history: Mapping[OrderKey, OrderBook]) -> set[uuid.UUID]:
    """Return the codes of orders of which a part went back: each event of such an order may change what stands."""
    return {redemption.code_id for book in history.values() if book.refunds for redemption in book.redemptions}


def _several(asks: Sequence[Ask], history: Mapping[OrderKey, OrderBook]) -> set[OrderKey]:
    """Return the orders of which something is taken back here that may lie between two purchases of one code."""
    said = Counter(ask.order if isinstance(ask, Cancellation | VoidRequest) else ask.purchase.order for ask in asks)
    return {
        ask.order
        for ask in asks
        if isinstance(ask, Cancellation | VoidRequest)
        and (
            said[ask.order] > 1
            or (ask.order in history and any(r.purchases is not None for r in history[ask.order].redemptions))
        )
    }


async def _history(
    connection: Connection, orders: Sequence[OrderKey], locked: Locked, now: datetime
) -> dict[OrderKey, OrderBook]:
    # An order whose row was made just now has done nothing yet.
    old_orders = [order for order in orders if order not in locked.fresh_orders]
    return await read_orders(connection, old_orders, now) if old_orders else {}


def _orders(asks: Sequence[Ask]) -> list[OrderKey]:
    orders: dict[OrderKey, None] = {}
    for ask in asks:
        if isinstance(ask, Cancellation | VoidRequest):
            orders[ask.order] = None
            continue
        orders[ask.purchase.order] = None
        if ask.purchase.reserved_ref is not None:
            orders[ask.purchase.program_id, ask.purchase.reserved_ref] = None
    return list(orders)


def _decide(ask: Ask, books: Books, now: datetime, written: Written) -> Outcome:
    match ask:
        case CompletedCheckout():
            return _redeem(ask, books, now, written)
        case HoldRequest():
            reserved = reserve(ask, books)
            if isinstance(reserved, Refused):
                written.refused.append((ask.purchase, reserved))
                write_turned_away(ask.purchase, reserved, "reservation", written)
            else:
                written.reserved.append(reserved)
            return reserved
        case Cancellation():
            cancelled = cancel(ask, books)
            write_cancelled(ask, cancelled, now, written)
            return cancelled
        case VoidRequest():
            voided = void_one(ask, books)
            write_cancelled(ask, voided, now, written)
            return voided


def _redeem(checkout: CompletedCheckout, books: Books, now: datetime, written: Written) -> Outcome:
    decision = decide(checkout.purchase, books, is_reported=not checkout.is_answered)
    match decision:
        case Redeemed():
            write_redeemed(checkout, decision, now, written)
        case RedeemedLate():
            write_late(checkout, decision, now, written)
        case Refused():
            written.refused.append((checkout.purchase, decision))
            if checkout.is_answered:
                write_turned_away(checkout.purchase, decision, "redemption", written)
            else:
                write_refused(checkout.purchase, decision, now, written)
    return decision


async def _write(
    connection: Connection, books: Books, shelf: Shelf, written: Written, fresh: Collection[OrderKey], now: datetime
) -> None:
    made = {redemption.id for redemption in written.redemptions} if books.changed else set()
    # What is voided makes room first: the same order may redeem the same code anew in the same batch.
    if changed := [redemption for key, redemption in books.changed.items() if key not in made]:
        await update_redemptions(connection, changed)
    held = _held_until(written)
    coupons = _coupon_rows(books, shelf, held, now)
    codes = _code_rows(books, shelf, held)
    if written.redemptions or codes:
        await insert_redemptions(
            connection,
            written.redemptions,
            codes,
            coupons=coupons,
            events=written.events,
            attributes=written.attributes,
            decided_at=now,
        )
    else:
        await insert_events(connection, written.events)
    await _write_limits(connection, books, shelf, [row.id for row in coupons])
    if moved := {key: book for key, book in books.orders.items() if book.is_moved}:
        await write_orders(connection, moved, fresh, now)
    if written.refunds:
        await insert_refunds(connection, written.refunds, now)
    if written.rejections:
        await insert_rejections(connection, written.rejections, now)


def _idle(locked: Locked, books: Books, written: Written) -> list[OrderKey]:
    """Return the orders whose rows were made for the lock alone: nothing is to be known of them later."""
    redeemed = {(redemption.program_id, redemption.order_ref) for redemption in written.redemptions}
    return [
        order
        for order in locked.fresh_orders - redeemed
        if (book := books.orders.get(order)) is None or not book.is_moved
    ]


def _held_until(written: Written) -> dict[uuid.UUID, datetime]:
    """Return until when codes and coupons may be held because of this batch."""
    held: dict[uuid.UUID, datetime] = {}
    for reserved in written.reserved:
        until = reserved.reservation.expires_at
        for each in reserved.reservation.held:
            for key in (each.code_id, each.coupon_id):
                held[key] = max(until, held.get(key, until))
    return held


def _code_rows(books: Books, shelf: Shelf, held: dict[uuid.UUID, datetime]) -> list[CodeCountRow]:
    limits = {terms.code_id: terms.code_limit for terms in shelf.terms}
    return [
        CodeCountRow(
            id=key,
            uses=count.uses,
            version=count.version,
            use_limit=limits[key] if count.is_raised else None,
            held_until=held.get(key),
        )
        for key, count in books.code_counts.items()
        if count.is_moved or key in held
    ]


def _coupon_rows(books: Books, shelf: Shelf, held: dict[uuid.UUID, datetime], now: datetime) -> list[CouponCountRow]:
    rows = []
    for key, count in books.coupon_counts.items():
        if not count.is_moved and key not in held:
            continue
        state, budget = shelf.coupons[key], books.budgets.get(key)
        until = now + LONGEST_HOLD if state.is_first_count else held.get(key)
        rules = state.terms.restrictions
        is_spent = budget is not None and budget.is_raised and budget.currency == rules.budget_currency
        rows.append(
            CouponCountRow(
                id=key,
                uses=count.uses,
                version=count.version,
                use_limit=state.terms.coupon_limit if count.is_raised else None,
                held_until=until,
                has_periods=state.counts_periods,
                period_zone=state.terms.timezone if state.counts_periods else None,
                spent_minor=budget.spent_minor if budget else None,
                spent_currency=budget.currency if budget else None,
                spend_limit=rules.budget_minor if is_spent else None,
            )
        )
    return rows


async def _write_limits(connection: Connection, books: Books, shelf: Shelf, coupons: Sequence[uuid.UUID]) -> None:
    if not books.customer_counts and not books.period_counts:
        return
    rules = {terms.coupon_id: terms.restrictions for terms in shelf.terms}
    customers = [
        (key, count, rules[key[0]].customer_limit if count.is_raised else None)
        for key, count in books.customer_counts.items()
        if count.is_moved and key[2] is None
    ]
    periods = [
        (key, count, rules[key[0]].period_limits.get(key[1]) if count.is_raised else None)
        for key, count in books.period_counts.items()
        if count.is_moved
    ]
    moved = [key for key in coupons if shelf.coupons[key].counts_periods and not shelf.coupons[key].knows_periods]
    await write_limits(connection, moved, customers, periods)


def report(written: Written) -> None:
    """Count and log what was committed."""
    REDEMPTIONS.inc(sum(redemption.is_counted for redemption in written.redemptions))
    RESERVATIONS.inc(len(written.reserved))
    for void in written.voids:
        REDEMPTIONS_VOIDED.labels(str(void.is_released).lower()).inc()
    for ask, said in written.unheeded:
        get_logger().info(
            "nothing_taken_back",
            program_id=str(ask.program_id),
            order_ref=ask.order_ref,
            occurred_at=ask.happened.claimed_at.isoformat(),
            notice=said,
            **trace_facts(ask.traceparent),
        )
    for purchase, refused in written.refused:
        REDEMPTIONS_REJECTED.labels(refused.reason).inc()
        get_logger().info("order_refused", **_facts(purchase, refused))
    for purchase, skipped in written.skipped:
        REDEMPTIONS_REJECTED.labels(skipped.reason).inc()
        get_logger().info("code_skipped", **_facts(purchase, skipped))


def _facts(purchase: Purchase, refused: Refused) -> dict[str, Any]:
    return {
        "program_id": str(purchase.program_id),
        "order_ref": purchase.order_ref,
        "event_id": purchase.event_id,
        "reason": refused.reason,
        **trace_facts(purchase.traceparent),
    }
