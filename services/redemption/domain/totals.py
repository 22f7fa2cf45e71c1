"""What an order comes to: the money of its purchases, of what its codes take off, and of what went back."""

from dataclasses import dataclass

from services.redemption.domain.books import OrderBook, Redemption
from services.redemption.domain.pot import taken_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """In minor units; None where the checkout did not tell enough. Lines are (line, product, what is taken off)."""

    currency: str | None
    subtotal_minor: int | None
    discount_minor: int | None
    total_minor: int | None
    refunded_minor: int
    commission_minor: int | None
    lines: tuple[tuple[int, str | None, int], ...] | None


def totals_of(order: OrderBook) -> Totals:
    """Add up what stands of an order; the subtotal is that of its latest purchase, taken back or not."""
    standing = [redemption for redemption in order.redemptions if redemption.voided_at is None]
    latest = max(standing or order.redemptions, key=lambda redemption: redemption.occurred_at, default=None)
    subtotal = latest.subtotal_minor if latest else None
    discount = _sum([redemption.discount_minor for redemption in standing])
    earning = [redemption for redemption in standing if redemption.commission_hundredths is not None]
    return Totals(
        currency=latest.currency if latest else None,
        subtotal_minor=subtotal,
        discount_minor=discount,
        total_minor=None if subtotal is None or discount is None else max(0, subtotal - discount),
        refunded_minor=sum(refund.amount_minor for refund in order.refunds),
        commission_minor=_sum([redemption.commission_minor for redemption in earning]),
        lines=_lines(standing),
    )


def _sum(amounts: list[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _lines(standing: list[Redemption]) -> tuple[tuple[int, str | None, int], ...] | None:
    taken: dict[tuple[int, str | None], int] = {}
    is_told = False
    for redemption in standing:
        lines = taken_of(redemption.discount_minor, redemption.lines).lines
        is_told = is_told or lines is not None
        for line, product, minor in lines or ():
            taken[line, product] = taken.get((line, product), 0) + minor
    if not is_told:
        return None
    ordered = sorted(taken.items(), key=lambda item: item[0][0])
    return tuple((line, product, minor) for (line, product), minor in ordered)
