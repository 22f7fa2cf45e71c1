"""Validates codes for holders of a publishable key, which is anyone: good or not, never why not.

Refusals are alike in the response and in the statements, and a client with too many refusals has to wait. The history
of orders and customers is ignored: anyone who knows an order's reference or an e-mail address could query it.
"""

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.redemption.domain.customers import Aliases
from services.redemption.domain.errors import TooManyGuesses
from services.redemption.domain.guesses import WINDOW
from services.redemption.domain.judgement import Appraisal
from services.redemption.domain.public import appraise_publicly
from services.redemption.domain.purchase import Purchase
from services.redemption.store.guesses import charge_guess, find_window, refund_guess
from services.redemption.store.locks import find
from services.redemption.usecases.open_books import open_books, strings_of
from shared.client_networks import client_network
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.metrics import GUESSES_REFUSED
from shared.starting_over import until_it_stands


@dataclass(frozen=True, slots=True)
class Asker:
    """The caller: a publishable key, and the addresses of its request."""

    key_id: uuid.UUID
    remote: str | None
    forwarded_for: str


@dataclass(frozen=True, slots=True)
class ValidatePublicly:
    """A request is charged as a failed guess before its codes are read, and refunded if they are good.

    If the process dies in between, the charge stays until the window ends.
    """

    database: Database
    clock: Clock
    trusted_proxies: int

    async def __call__(self, asker: Asker, purchase: Purchase) -> Sequence[Appraisal] | None:
        """Return the appraisals if all codes are good or lack only a customer, which is not a guess, else None.

        Raises TooManyGuesses or TransientFault.
        """
        now = self.clock()
        address = client_network(asker.remote, asker.forwarded_for, self.trusted_proxies)
        async with self.database.connection() as connection:
            started_at = await charge_guess(connection, asker.key_id, address, now)
            if started_at is None:
                window = await find_window(connection, asker.key_id, address)
                GUESSES_REFUSED.inc()
                raise TooManyGuesses(_seconds_left(((window or now) + WINDOW - now).total_seconds()))
        appraisals = await self._judge(replace(purchase, order_ref="", occurred_at=now))
        if appraisals is None:
            return None
        async with self.database.connection() as connection:
            await refund_guess(connection, asker.key_id, address, started_at)
        return appraisals

    async def _judge(self, purchase: Purchase) -> list[Appraisal] | None:
        """Judge an order's codes without the history of orders and customers; None for a refusal.

        Runs the same statements whatever they find and whatever the purchase contains.
        """
        async with self.database.connection() as connection:
            return await until_it_stands(lambda _: _appraise(connection, purchase))


async def _appraise(connection: Connection, purchase: Purchase) -> list[Appraisal] | None:
    found = await find(connection, strings_of([purchase]))
    now = purchase.occurred_at
    books, _ = await open_books(connection, [purchase], (), found, {}, now=now, aliases=Aliases(), reads_all=True)
    return appraise_publicly(purchase, books)


def _seconds_left(seconds: float) -> int:
    return max(1, min(math.ceil(seconds), int(WINDOW.total_seconds())))
