"""Shows an order, even one with only refused tries."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.redemption.domain.books import OrderBook
from services.redemption.domain.errors import Missing
from services.redemption.domain.rejections import RejectionFilter, RejectionPage
from services.redemption.store.history import read_details, read_orders
from services.redemption.store.rejections import list_rejections
from shared.clock import Clock
from shared.database.pool import Database

_MOST_REJECTIONS: Final = 100


@dataclass(frozen=True, slots=True)
class ShownOrder:
    """An order, the attributes of its latest purchase, what was left out, and its latest refused tries."""

    book: OrderBook
    attributes: Mapping[str, Any] | None
    left_out: Sequence[str]
    rejections: RejectionPage


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """Reads committed data of one program."""

    database: Database
    clock: Clock

    async def __call__(self, program_id: uuid.UUID, order_ref: str) -> ShownOrder:
        """Return an order; raises Missing if it is unknown."""
        key = program_id, order_ref
        wanted = RejectionFilter(program_id=program_id, order_ref=order_ref)
        async with self.database.connection() as connection:
            found = await read_orders(connection, [key], self.clock())
            attributes, left_out = await read_details(connection, key) if found else (None, None)
            rejections = await list_rejections(connection, wanted, None, _MOST_REJECTIONS)
        if not found and not rejections.rejections:
            raise Missing
        book = found.get(key, OrderBook())
        return ShownOrder(
            book,
            None if attributes is None else json.loads(attributes),
            [] if left_out is None else json.loads(left_out),
            rejections,
        )
