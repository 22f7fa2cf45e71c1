"""What the codes of an order take off, for a page; a refused code is no error, and neither is no answer."""

from dataclasses import dataclass, field
from typing import Any

from .orders import Order, Orders
from .promo import Promo, UnavailableError
from .sentences import refusal


@dataclass(frozen=True)
class Line:
    """One code: `state` is `yes`, `no` or `unknown`; `off` is in minor units."""

    code: str
    state: str
    head: str
    text: str = ""
    off: int = 0
    percent: str = ""


@dataclass(frozen=True)
class Quote:
    """What an order costs, and why."""

    total: int
    lines: list[Line] = field(default_factory=list)

    @property
    def applied(self) -> list[str]:
        """The codes that count."""
        return [line.code for line in self.lines if line.state == "yes"]

    @property
    def is_known(self) -> bool:
        """Whether every code could be checked."""
        return all(line.state != "unknown" for line in self.lines)


async def quote(order: Order, orders: Orders, promo: Promo) -> Quote:
    """Ask what the order's codes take off; without an answer the shop goes on selling at the full price."""
    if not order.details.codes:
        return Quote(order.details.subtotal)
    try:
        found = await promo.validate(order, is_first_order=not orders.has_bought(order.details.email))
    except UnavailableError:
        return Quote(
            order.details.subtotal, [Line(code, "unknown", "cannot be checked now.") for code in order.details.codes]
        )
    lines = [_line(verdict) for verdict in found["codes"]]
    return Quote(order.details.subtotal - sum(line.off for line in lines), lines)


def _line(verdict: dict[str, Any]) -> Line:
    discount = verdict["discount"]
    if not verdict["valid"] or discount is None:
        head, text = refusal(verdict["reason"])
        in_the_way = verdict["blocked_by"]
        return Line(verdict["code"], "no", head, f"{text} {in_the_way} is in its way." if in_the_way else text)
    hundredths = discount["percent_hundredths"]
    percent = f"{hundredths / 100:g} %" if discount["type"] == "percent" and hundredths else ""
    return Line(verdict["code"], "yes", "is applied.", off=discount["applied_minor"] or 0, percent=percent)
