"""What a demo needs besides the shop's events: a program that is a demo, and a code that an order holds."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.redemption.domain.customers import Digests
from services.redemption.domain.moments import OWN_CLOCK
from services.redemption.domain.purchase import HoldRequest
from services.redemption.store.terms import is_demo_program
from services.redemption.usecases.decide_batch import decide_batch
from services.redemption.usecases.purchases import purchase_of
from shared.database.pool import Database
from shared.demo_plan import HELD_ORDER, DemoRefused
from shared.derived_ids import derived_id
from shared.events.checkout import Customer, Order

_HELD_FOR = timedelta(days=2)


async def check_is_demo(database: Database, program_id: uuid.UUID) -> None:
    """Raise DemoRefused unless the program is a demo."""
    async with database.connection() as connection:
        if not await is_demo_program(connection, program_id):
            raise DemoRefused


@dataclass(frozen=True, slots=True)
class HoldDemoCode:
    """Holds a code as `POST /v1/reservations` does."""

    database: Database
    digests: Digests

    async def __call__(self, program_id: uuid.UUID, code: str, now: datetime) -> None:
        """Hold it; a repeat holds it no longer."""
        purchase = purchase_of(
            program_id,
            "",
            event_id="",
            order_ref=HELD_ORDER,
            codes=[code],
            occurred_at=now,
            customer=Customer(email="held@mail.example"),
            order=Order(currency="EUR", subtotal=4900),
            clock=OWN_CLOCK,
        )
        hold = HoldRequest(purchase, derived_id(program_id, HELD_ORDER), now + _HELD_FOR)
        async with self.database.transaction() as connection:
            await decide_batch(connection, [hold], now, self.digests)
