"""Writes the changes to the books that `open_books` opened, under the same locks, and the events about them."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

from services.redemption.domain.books import Books
from services.redemption.domain.purchase import OrderKey
from services.redemption.store.orders import insert_refunds, write_orders
from services.redemption.store.outcomes import (
    CodeCountRow,
    CouponCountRow,
    insert_redemptions,
    update_redemptions,
    write_limits,
)
from services.redemption.store.rejections import insert_rejections
from services.redemption.store.terms import CountedTerms
from services.redemption.usecases.record_decisions import Written
from shared.database.outbox import insert_events
from shared.database.pool import Connection

LONGEST_HOLD: Final = timedelta(days=7)


async def close_books(
    connection: Connection,
    books: Books,
    counted: CountedTerms,
    written: Written,
    fresh: Collection[OrderKey],
    now: datetime,
) -> None:
    """Write the results of decisions on the locked rows; those of `fresh` orders were created for the lock."""
    made = {redemption.id for redemption in written.redemptions} if books.changed else set()
    # Voids come first: the same order may redeem the same code again in the same batch.
    if changed := [redemption for key, redemption in books.changed.items() if key not in made]:
        await update_redemptions(connection, changed, now)
    held = _held_until(written)
    coupons = _coupon_rows(books, counted, held, now)
    codes = _code_rows(books, counted, held)
    # Reservations alone change the counters along with their orders: this saves a round trip.
    only_held = bool(written.reserved) and not (written.redemptions or written.events or coupons)
    if written.redemptions or (codes and not only_held):
        await insert_redemptions(
            connection,
            written.redemptions,
            codes,
            coupons=coupons,
            events=written.events,
            attributes=written.attributes,
            left_out=written.left_out,
            decided_at=now,
        )
    else:
        await insert_events(connection, written.events)
    await _write_limits(connection, books, counted, [row.id for row in coupons])
    if moved := {key: book for key, book in books.orders.items() if book.is_moved}:
        await write_orders(connection, moved, fresh, now, held_codes=codes if only_held else ())
    if written.refunds:
        await insert_refunds(connection, written.refunds, now)
    if written.rejections:
        await insert_rejections(connection, written.rejections, now)


def _held_until(written: Written) -> dict[uuid.UUID, datetime]:
    """Return until when codes and coupons may be held because of this batch."""
    held: dict[uuid.UUID, datetime] = {}
    for reserved in written.reserved:
        until = reserved.reservation.expires_at
        for each in reserved.reservation.held:
            for key in (each.code_id, each.coupon_id):
                held[key] = max(until, held.get(key, until))
    return held


def _code_rows(books: Books, counted: CountedTerms, held: dict[uuid.UUID, datetime]) -> list[CodeCountRow]:
    limits = {terms.code_id: terms.code_limit for terms in counted.terms}
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


def _coupon_rows(
    books: Books, counted: CountedTerms, held: dict[uuid.UUID, datetime], now: datetime
) -> list[CouponCountRow]:
    rows = []
    for key, count in books.coupon_counts.items():
        if not count.is_moved and key not in held:
            continue
        state, budget = counted.coupons[key], books.budgets.get(key)
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


async def _write_limits(
    connection: Connection, books: Books, counted: CountedTerms, coupons: Sequence[uuid.UUID]
) -> None:
    if not books.customer_counts and not books.period_counts:
        return
    rules = {terms.coupon_id: terms.restrictions for terms in counted.terms}
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
    moved = [key for key in coupons if counted.coupons[key].counts_periods and not counted.coupons[key].knows_periods]
    await write_limits(connection, moved, customers, periods)
