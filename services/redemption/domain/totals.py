"""The totals of an order: its purchases, its discounts, and its refunds."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from services.redemption.domain.books import OrderBook, Redemption
from services.redemption.domain.lines import Earlier, lines_of, locate, taken_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """In minor units; None if the checkout gave too little information. Lines are (line, product, discount)."""

    currency: str | None
    subtotal_minor: int | None
    discount_minor: int | None
    total_minor: int | None
    refunded_minor: int
    commission_minor: int | None
    lines: tuple[tuple[int, str | None, int], ...] | None


def totals_of(order: OrderBook) -> Totals:
    """Add up an order's standing codes; the subtotal is that of its latest purchase, taken back or not."""
    standing = [redemption for redemption in order.redemptions if redemption.voided_at is None]
    latest = _latest(standing or order.redemptions)
    subtotal = latest.subtotal_minor if latest else None
    discount = _sum([redemption.discount_minor for redemption in standing])
    # What was to be paid stays so when it goes back: beside the refunds a price without the codes would look half kept.
    paid = _sum([redemption.discount_minor for redemption in standing or _taken_back_last(order.redemptions)])
    earning = [redemption for redemption in standing if redemption.commission_hundredths is not None]
    return Totals(
        currency=latest.currency if latest else None,
        subtotal_minor=subtotal,
        discount_minor=discount,
        total_minor=None if subtotal is None or paid is None else max(0, subtotal - paid),
        refunded_minor=sum(refund.amount_minor for refund in order.refunds),
        commission_minor=_sum([redemption.commission_minor for redemption in earning]),
        lines=_lines(standing),
    )


def _latest(redemptions: Sequence[Redemption]) -> Redemption | None:
    # They are in order of decision.
    return max(reversed(redemptions), key=attrgetter("occurred_at"), default=None)


def _taken_back_last(redemptions: Sequence[Redemption]) -> list[Redemption]:
    """Return those that the latest cancellation or refund of the order ended, and not a void of their own."""
    ended = [each for each in redemptions if each.voided_at is not None and each.is_voided_alone is False]
    last = max((each.confirmed_at for each in ended), default=None)
    return [each for each in ended if each.confirmed_at == last]


def _sum(amounts: list[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _lines(standing: Sequence[Redemption]) -> tuple[tuple[int, str | None, int], ...] | None:
    """Return the discounts on the lines of the latest request that listed any, and on lines that are gone."""
    latest = _latest([redemption for redemption in standing if redemption.prices is not None])
    now = (lines_of(latest.prices) if latest else None) or ()
    taken = [Earlier(taken_of(r.discount_minor, r.lines), lines_of(r.prices)) for r in standing]
    if latest is None and all(each.taken.lines is None for each in taken):
        return None
    by_line, elsewhere = locate(taken, now)
    listed = ((place, line.product_id, by_line[place]) for place, line in enumerate(now) if by_line[place])
    return *listed, *((place, product, minor) for place, (product, minor) in enumerate(elsewhere.items(), len(now)))
