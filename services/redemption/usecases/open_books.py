"""Reads everything that decides, in statements after the locks; details that only some codes need, only for those."""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from services.redemption.domain.books import Books, Budget, OrderBook, Redemption
from services.redemption.domain.customers import Aliases, CustomerKey, keys_counted
from services.redemption.domain.purchase import OrderKey, Purchase
from services.redemption.domain.terms import CodeTerms
from services.redemption.store.counts import add_held, count_customers, count_spent, read_periods
from services.redemption.store.history import find_programs
from services.redemption.store.locks import Locked
from services.redemption.store.terms import CountedTerms, read_terms
from shared.database.pool import Connection
from shared.erasing import ID_KEY, MAILBOX_KEY

Strings = tuple[uuid.UUID, str]


def strings_of(purchases: Sequence[Purchase]) -> list[Strings]:
    """Return the strings that these orders name (program, canonical form), each once."""
    return list(
        dict.fromkeys(
            (purchase.program_id, code.canonical)
            for purchase in purchases
            for code in purchase.codes
            if code.canonical is not None
        )
    )


def customers_of(purchases: Sequence[Purchase], locked: Locked, aliases: Aliases) -> set[CustomerKey]:
    """Return the keys by which customers are counted per coupon: coupons whose uses are limited, or were.

    An erased one is counted, and locked, by its placeholder: so later purchases never meet its earlier name.
    """
    if not locked.counted_customers:
        return set()
    for (program_id, _), coupon_ids in locked.counted_customers.items():
        aliases.programs.update(dict.fromkeys(coupon_ids, program_id))
    return {
        key
        for purchase in purchases
        if purchase.buyer.key is not None
        for code in purchase.codes
        for coupon_id in locked.counted_customers.get((purchase.program_id, code.canonical or ""), ())
        for key in keys_counted(coupon_id, *(aliases(coupon_id, each) for each in purchase.buyer.keys))
    }


def past_customers(
    history: Mapping[OrderKey, OrderBook], locked: Locked, taken_back: Collection[OrderKey], aliases: Aliases
) -> set[CustomerKey]:
    """Return the keys of the customers of orders' redemptions whose uses may count again."""
    if not locked.counted_customers:
        return set()
    return {
        key
        for redemption in _past(history, locked, taken_back)
        for key in keys_counted(
            redemption.coupon_id,
            aliases(redemption.coupon_id, redemption.customer_key),
            aliases(redemption.coupon_id, redemption.mailbox_key),
        )
    }


def names_of_past(
    history: Mapping[OrderKey, OrderBook], locked: Locked, taken_back: Collection[OrderKey]
) -> set[tuple[uuid.UUID, str]]:
    """Return the names of these customers, with their programs; the placeholder of an erased one is not a name."""
    return {
        (redemption.program_id, name)
        for redemption in _past(history, locked, taken_back)
        for name in (redemption.customer_key, redemption.mailbox_key)
        if name is not None and name.startswith((ID_KEY, MAILBOX_KEY))
    }


def _past(
    history: Mapping[OrderKey, OrderBook], locked: Locked, taken_back: Collection[OrderKey]
) -> Iterator[Redemption]:
    for order, book in history.items():
        if book.is_taken_back or order in taken_back:
            for redemption in book.redemptions:
                string = redemption.program_id, redemption.canonical
                if redemption.coupon_id in locked.counted_customers.get(string, ()):
                    yield redemption


async def open_books(
    connection: Connection,
    purchases: Sequence[Purchase],
    customers: Collection[CustomerKey],
    locked: Locked,
    history: dict[OrderKey, OrderBook],
    *,
    now: datetime,
    aliases: Aliases,
    reads_all: bool = False,
) -> tuple[Books, CountedTerms]:
    """Return the books on the locked rows; raises TermsChanged if the locks do not suffice.

    With `reads_all`, every statement runs, needed or not: then the statements reveal nothing.
    """
    counted = await read_terms(connection, locked, now) if locked.code_ids or reads_all else CountedTerms()
    candidates: dict[Strings, list[CodeTerms]] = {}
    for terms in counted.terms:
        candidates.setdefault((terms.program_id, terms.canonical), []).append(terms)
    known = {terms.program_id for terms in counted.terms}
    doubtful = {purchase.program_id for purchase in purchases} - known
    if doubtful or reads_all:
        known |= await find_programs(connection, list(doubtful))
    limited = {terms.coupon_id for terms in counted.terms if terms.restrictions.customer_limit is not None}
    of_limited = [customer for customer in customers if customer[0] in limited]
    customer_counts = await count_customers(connection, of_limited, now, aliases) if of_limited or reads_all else {}
    moments = _moments(purchases, candidates, counted, history)
    period_counts, period_starts = await read_periods(connection, moments) if moments or reads_all else ({}, {})
    budgets = await _budgets(connection, counted, reads_all=reads_all) if counted.coupons or reads_all else {}
    if counted.code_holds or counted.coupon_holds or reads_all:
        codes = {code_id: counted.code_counts[code_id] for code_id in counted.code_holds}
        coupons = {coupon_id: counted.coupon_counts[coupon_id] for coupon_id in counted.coupon_holds}
        await add_held(connection, codes, coupons, budgets, now, reads_all=reads_all)
    books = Books(
        candidates=candidates,
        code_counts=counted.code_counts,
        coupon_counts=counted.coupon_counts,
        orders=history,
        known_programs=known,
        customer_counts=customer_counts,
        period_counts=period_counts,
        period_starts=period_starts,
        budgets=budgets,
        aliases=aliases,
    )
    return books, counted


def _moments(
    purchases: Sequence[Purchase],
    candidates: Mapping[Strings, Sequence[CodeTerms]],
    counted: CountedTerms,
    history: Mapping[OrderKey, OrderBook],
) -> list[tuple[uuid.UUID, datetime, str, bool]]:
    zones = {
        key: (state.terms.timezone, state.knows_periods)
        for key, state in counted.coupons.items()
        if state.counts_periods
    }
    if not zones:
        return []
    # Each coupon at the times of its own purchases: at those of the whole batch, the cost would be quadratic.
    asked = {
        (terms.coupon_id, moment)
        for purchase in purchases
        for moment in (purchase.occurred_at, purchase.happened.known_at)
        for code in purchase.codes
        for terms in candidates.get((purchase.program_id, code.canonical or ""), ())
        if terms.coupon_id in zones
    }
    moments = [(coupon_id, moment, *zones[coupon_id]) for coupon_id, moment in asked]
    moments += [
        (redemption.coupon_id, moment, *zones[redemption.coupon_id])
        for book in history.values()
        for redemption in book.redemptions
        if redemption.coupon_id in zones
        for moment in (redemption.occurred_at, *(bought.known_at for bought in redemption.bought))
    ]
    return moments


async def _budgets(connection: Connection, counted: CountedTerms, *, reads_all: bool) -> dict[uuid.UUID, Budget]:
    budgets: dict[uuid.UUID, Budget] = {}
    uncounted: list[tuple[uuid.UUID, str]] = []
    for coupon_id, state in counted.coupons.items():
        currency = state.terms.restrictions.budget_currency or state.spent_currency
        if currency is None:
            continue
        budgets[coupon_id] = Budget(currency, state.spent_minor or 0)
        if state.spent_minor is None or state.spent_currency != currency:
            uncounted.append((coupon_id, currency))
    if uncounted or reads_all:
        for coupon_id, spent_minor in (await count_spent(connection, uncounted)).items():
            budgets[coupon_id].spent_minor = spent_minor
    return budgets
