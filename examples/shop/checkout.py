"""The checkout: hold the codes, take the payment, and keep the event to publish. Every step may be repeated."""

from dataclasses import dataclass
from datetime import datetime

from .orders import Order, Orders, now
from .outbox import Outbox
from .promo import Promo, RefusedError, UnavailableError, completed
from .quote import Line, Quote, quote
from .sentences import refusal


class PriceChangedError(Exception):
    """The order costs something else than the customer has seen; `quote` is the new price, and nothing was paid."""

    def __init__(self, new: Quote) -> None:
        super().__init__(new.total)
        self.quote = new


@dataclass(frozen=True)
class Checkout:
    """Takes one order from bag to paid."""

    orders: Orders
    promo: Promo
    outbox: Outbox
    program_id: str

    async def hold(self, order: Order, seen_total: int) -> None:
        """Hold the codes that count for the price that was seen; raises PriceChangedError or UnavailableError."""
        found = await quote(order, self.orders, self.promo)
        if not found.is_known:
            raise UnavailableError("the codes cannot be checked")
        if found.total != seen_total:
            raise PriceChangedError(found)
        # A refused code stays out: the price that was seen does not include it.
        order.details.codes = found.applied
        order.details.total, order.details.hold = found.total, None
        if order.details.codes:
            await self._hold(order)
        self.orders.save(order)

    async def pay(self, order: Order) -> None:
        """Pay a held order once, and publish it; raises as `hold` does, and then nothing was paid."""
        hold = order.details.hold
        if hold is not None:
            try:
                await self._hold(order)
            except UnavailableError:
                # The hold is a promise while it lasts.
                if datetime.fromisoformat(hold["expires_at"]) <= now():
                    raise
        # A real shop charges `order.details.total` here, with the order's reference as the payment's idempotency key.
        event = None
        if order.details.codes:
            is_first = not self.orders.has_bought(order.details.email)
            event = completed(order, self.program_id, now().isoformat(), is_first_order=is_first)
        if self.orders.pay(order, event) and event is not None:
            await self.outbox.publish_soon(order)

    async def forget_hold(self, order: Order) -> None:
        """End the hold of an order whose contents change; if that fails, it ends by itself."""
        hold, order.details.hold = order.details.hold, None
        order.details.total = None
        if hold is not None:
            try:
                await self.promo.release(hold["id"])
            except UnavailableError:
                return

    async def _hold(self, order: Order) -> None:
        is_first = not self.orders.has_bought(order.details.email)
        try:
            held = await self.promo.hold(order, is_first_order=is_first)
        except RefusedError as refused:
            raise PriceChangedError(await self._after(order, refused)) from refused
        off = [{"code": code["code"], "off": code["discount_minor"] or 0} for code in held["codes"]]
        total = order.details.subtotal - sum(int(code["off"]) for code in off)
        order.details.hold = {**{name: held[name] for name in ("id", "reserved_at", "expires_at")}, "codes": off}
        if total != order.details.total:
            order.details.total = total
            raise PriceChangedError(await quote(order, self.orders, self.promo))

    async def _after(self, order: Order, refused: RefusedError) -> Quote:
        """Return the price after a refused hold; if a check finds nothing wrong by now, the refusal's reason counts."""
        order.details.hold = None
        found = await quote(order, self.orders, self.promo)
        if found.lines and len(found.applied) == len(found.lines):
            last = found.lines[-1]
            head, text = refusal(str(refused))
            lines = [*found.lines[:-1], Line(last.code, "no", head, text)]
            found = Quote(found.total + last.off, lines)
        return found
