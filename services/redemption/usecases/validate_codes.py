"""Says what codes would take off an order, or why they would not, by the rules of redeeming; nothing changes."""

from dataclasses import dataclass, replace

from services.redemption.domain.decision import Appraisal, appraise
from services.redemption.domain.purchase import Purchase
from services.redemption.store.history import read_orders
from services.redemption.store.locks import find
from services.redemption.store.terms import TermsChanged
from services.redemption.usecases.decide_batch import TRIES
from services.redemption.usecases.open_books import customers_of, open_books, strings_of
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.faults import TransientFault


@dataclass(frozen=True, slots=True)
class ValidateCodes:
    """Reads without locks: another order may be faster than the one that is asked about."""

    database: Database
    clock: Clock

    async def __call__(self, purchase: Purchase, *, reads_all: bool = False) -> list[Appraisal]:
        """Judge each code of an order that is about to be paid, now; raises TransientFault.

        With `reads_all` the same statements are run whatever they find.
        """
        purchase = replace(purchase, occurred_at=self.clock())
        async with self.database.connection() as connection:
            for _ in range(TRIES):
                try:
                    return await _appraise(connection, purchase, reads_all)
                except TermsChanged:
                    continue
        raise TransientFault("The limits of the coupons change faster than they can be read.")


async def _appraise(connection: Connection, purchase: Purchase, reads_all: bool) -> list[Appraisal]:
    now = purchase.occurred_at
    found = await find(connection, strings_of([purchase]))
    orders = [purchase.order] if purchase.order_ref else []
    history = await read_orders(connection, orders, now, reads_all=reads_all) if orders else {}
    customers = customers_of([purchase], found)
    books, _ = await open_books(connection, [purchase], customers, found, history, now, reads_all=reads_all)
    return appraise(purchase, books)
