"""One transaction's work: locks, then reads, then decides request by request, then writes.

A statement that waits for a row lock re-reads only that row, so nothing that decides is read before or during locking.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from services.redemption.domain.books import Books, OrderBook
from services.redemption.domain.customers import Digests
from services.redemption.domain.decision import Redeemed, RedeemedLate, decide
from services.redemption.domain.judgement import Refused
from services.redemption.domain.purchase import Cancellation, HoldRequest, OrderKey, Purchase, VoidRequest
from services.redemption.domain.reserving import Reserved, reserve
from services.redemption.domain.voiding import Cancelled, cancel, void_one
from services.redemption.store.customers import share_customers
from services.redemption.store.history import find_reservations, read_orders
from services.redemption.store.locks import Locked, lock, lock_customers, lock_orders
from services.redemption.store.orders import delete_idle_orders
from services.redemption.store.terms import TermsChanged
from services.redemption.usecases.close_books import close_books
from services.redemption.usecases.open_books import (
    customers_of,
    names_of_past,
    open_books,
    past_customers,
    strings_of,
)
from services.redemption.usecases.purchases import Ask, CompletedCheckout
from services.redemption.usecases.recognise_erased import customers_in, recognise, without_past
from services.redemption.usecases.record_decisions import (
    Written,
    write_cancelled,
    write_late,
    write_redeemed,
    write_refused,
    write_turned_away,
)
from shared.database.pool import Connection

Outcome: TypeAlias = Redeemed | RedeemedLate | Refused | Reserved | Cancelled


@dataclass(frozen=True, slots=True)
class Decided:
    """One outcome per request, and what was written; the events are handed over after the commit."""

    outcomes: list[Outcome]
    written: Written


async def decide_batch(
    connection: Connection, asks: Sequence[Ask], now: datetime, digests: Digests, *, is_again: bool = False
) -> Decided:
    """Decide requests in the given order; raises TermsChanged if the transaction must be started again.

    `is_again` tells that it was: then all codes of the orders are locked, not only the requested ones.
    """
    asks = await _with_reservations(connection, asks)
    purchases = [ask.purchase for ask in asks if isinstance(ask, CompletedCheckout | HoldRequest)]
    locked, history = await _lock(connection, asks, purchases, now, is_again=is_again)
    # Only after something is locked: an erasure waits for the transactions that may not know of it.
    past = names_of_past(history, locked, several := _several(asks, history))
    if locked.counted_customers:
        await share_customers(connection, customers_in(purchases) | past)
    purchases, aliases = await recognise(connection, purchases, digests, past)
    if aliases:
        asks = _with_purchases(asks, purchases)
    customers = customers_of(purchases, locked, aliases) | past_customers(history, locked, several, aliases)
    if customers:
        await lock_customers(connection, customers)
    books, counted = await open_books(connection, purchases, customers, locked, history, now=now, aliases=aliases)
    written = Written()
    outcomes = [_decide(ask, books, now, written) for ask in asks]
    await close_books(connection, books, counted, written, locked.fresh_orders, now)
    if idle := _idle(locked, books, written):
        await delete_idle_orders(connection, idle)
    return Decided(outcomes, written)


async def _with_reservations(connection: Connection, asks: Sequence[Ask]) -> Sequence[Ask]:
    """Add the order references of reservations to purchases that name one; these never change."""
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
    """Replace purchases by those with recognised customers."""
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
    """Lock everything but customers, and return the state of the orders."""
    orders = _orders(asks)
    taken_back = {ask.order for ask in asks if isinstance(ask, Cancellation | VoidRequest)}
    if not taken_back and not is_again:
        locked = await lock(connection, orders, strings_of(purchases), now)
        history = await _history(connection, orders, locked.fresh_orders, now)
        # A purchase of a partially refunded order may void its other codes. That is rare, and known only now.
        if not _changeable(history).issubset(locked.code_ids):
            raise TermsChanged
        return locked, history
    # An order's codes are known once it is locked, and every transaction locks orders before codes.
    fresh_orders = await lock_orders(connection, orders, now)
    history = await _history(connection, orders, fresh_orders, now)
    code_ids = {r.code_id for order in taken_back if order in history for r in history[order].redemptions}
    code_ids |= _changeable(history)
    locked = await lock(connection, (), strings_of(purchases), now, list(code_ids))
    return replace(locked, fresh_orders=fresh_orders), history


def _changeable(history: Mapping[OrderKey, OrderBook]) -> set[uuid.UUID]:
    """Return the codes of partially refunded orders: each event of such an order may change what stands."""
    return {redemption.code_id for book in history.values() if book.refunds for redemption in book.redemptions}


def _several(asks: Sequence[Ask], history: Mapping[OrderKey, OrderBook]) -> set[OrderKey]:
    """Return the orders with a cancellation or refund here that may lie between two purchases of one code."""
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
    connection: Connection, orders: Sequence[OrderKey], fresh_orders: frozenset[OrderKey], now: datetime
) -> dict[OrderKey, OrderBook]:
    # An order whose row was just created has no history yet.
    old_orders = [order for order in orders if order not in fresh_orders]
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
                write_refused(checkout, decision, now, written)
    return decision


def _idle(locked: Locked, books: Books, written: Written) -> list[OrderKey]:
    """Return the orders whose rows were created only for the lock: nothing must remain of them."""
    redeemed = {(redemption.program_id, redemption.order_ref) for redemption in written.redemptions}
    return [
        order
        for order in locked.fresh_orders - redeemed
        if (book := books.orders.get(order)) is None or not book.is_moved
    ]
