"""Says what codes would take off an order, or why they would not, by the rules of redeeming; nothing changes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from services.redemption.domain.customers import Aliases, Digests
from services.redemption.domain.judgement import Appraisal, appraise
from services.redemption.domain.public import appraise_publicly
from services.redemption.domain.purchase import Purchase
from services.redemption.store.history import read_orders
from services.redemption.store.locks import find
from services.redemption.store.terms import TermsChanged
from services.redemption.usecases.decide_batch import TRIES
from services.redemption.usecases.open_books import customers_of, open_books, strings_of
from services.redemption.usecases.recognise_erased import recognise
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.faults import TransientFault

T = TypeVar("T")
Judge = Callable[[Connection, Purchase], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class ValidateCodes:
    """Reads without locks: another order may be faster than the one that is asked about."""

    database: Database
    clock: Clock
    digests: Digests

    async def __call__(self, purchase: Purchase) -> list[Appraisal]:
        """Judge each code of an order that is about to be paid, now; raises TransientFault."""
        return await self._judge(purchase, partial(_appraise, digests=self.digests))

    async def publicly(self, purchase: Purchase) -> list[Appraisal] | None:
        """Judge them without what orders and customers have done; None for a refusal. Raises TransientFault.

        The same statements are run whatever they find and whatever the purchase says.
        """
        return await self._judge(replace(purchase, order_ref=""), _appraise_publicly)

    async def _judge(self, purchase: Purchase, judge: Judge[T]) -> T:
        purchase = replace(purchase, occurred_at=self.clock())
        async with self.database.connection() as connection:
            for _ in range(TRIES):
                try:
                    return await judge(connection, purchase)
                except TermsChanged:
                    continue
        raise TransientFault("The limits of the coupons change faster than they can be read.")


async def _appraise(connection: Connection, purchase: Purchase, digests: Digests) -> list[Appraisal]:
    now = purchase.occurred_at
    found = await find(connection, strings_of([purchase]))
    history = await read_orders(connection, [purchase.order], now) if purchase.order_ref else {}
    (purchase,), aliases = await recognise(connection, [purchase], digests)
    customers = customers_of([purchase], found, aliases)
    books, _ = await open_books(connection, [purchase], customers, found, history, now, aliases)
    return appraise(purchase, books)


async def _appraise_publicly(connection: Connection, purchase: Purchase) -> list[Appraisal] | None:
    found = await find(connection, strings_of([purchase]))
    now = purchase.occurred_at
    books, _ = await open_books(connection, [purchase], (), found, {}, now, Aliases(), reads_all=True)
    return appraise_publicly(purchase, books)
