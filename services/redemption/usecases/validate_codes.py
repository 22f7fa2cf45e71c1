"""Returns the discounts that codes would give, or why not, by the rules of redeeming; nothing changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from services.redemption.domain.customers import Digests
from services.redemption.domain.judgement import Appraisal, appraise
from services.redemption.domain.purchase import Purchase
from services.redemption.store.history import read_orders
from services.redemption.store.locks import find
from services.redemption.usecases.open_books import customers_of, open_books, strings_of
from services.redemption.usecases.recognise_erased import recognise
from shared.database.pool import Connection
from shared.grouping import Grouping, Results, Work
from shared.idempotency import Once


@dataclass(frozen=True, slots=True)
class ValidateCodes(Work[Purchase, list[Appraisal], None]):
    """Judges each code of orders that are about to be paid, now.

    It reads without locks or a transaction, so another order may redeem before the one in the request.
    """

    digests: Digests

    async def decide_at_once(
        self,
        connection: Connection,
        asks: Sequence[Purchase],
        answers: Sequence[Once[list[Appraisal]] | None],
        now: datetime,
    ) -> Results[list[Appraisal], None]:
        """Read for all of them together, and judge each; raises TermsChanged."""
        return await self.decide(connection, asks, now, is_again=False)

    async def decide(
        self,
        connection: Connection,
        asks: Sequence[Purchase],
        now: datetime,
        *,
        is_again: bool,
    ) -> Results[list[Appraisal], None]:
        """Read and judge again after terms changed during the read."""
        for purchase in asks:
            purchase.occurred_at = now
        found = await find(connection, strings_of(asks))
        orders = {purchase.order for purchase in asks if purchase.order_ref}
        history = await read_orders(connection, list(orders), now) if orders else {}
        purchases, aliases = await recognise(connection, asks, self.digests)
        customers = customers_of(purchases, found, aliases)
        books, _ = await open_books(connection, purchases, customers, found, history, now=now, aliases=aliases)
        return Results([appraise(purchase, books) for purchase in purchases], None)

    def committed(self, written: None) -> None:
        """Nothing was written."""


Validations: TypeAlias = Grouping[Purchase, list[Appraisal], None]
