"""The partners' commissions of an order: shares of the payment after discounts, up to the program's cap together.

A function of the order's standing redemptions and its refunds, so their order of arrival does not matter.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from services.redemption.domain.books import Books, OrderBook, Redemption
from services.redemption.domain.lines import shares
from services.redemption.domain.standing import Standing
from services.redemption.domain.terms import percentage


@dataclass(frozen=True, slots=True)
class Earning:
    """The commission of a redemption that stands has changed; the newer version wins."""

    redemption: Redemption
    before_minor: int | None
    amount_minor: int
    version: int


def earn(order: OrderBook, books: Books, made: Collection[uuid.UUID] = ()) -> tuple[Earning, ...]:
    """Set the present commissions of an order's redemptions, and return the changes of those that are not new."""
    earned = commissions(order)
    earnings = []
    for redemption in order.redemptions:
        before, amount = redemption.commission_minor, earned.get(redemption.id)
        if amount is None or amount == before:
            continue
        redemption.commission_minor = amount
        if redemption.id not in made:
            redemption.commission_version += 1
            books.changed[redemption.id] = redemption
            earnings.append(Earning(redemption, before, amount, redemption.commission_version))
    return tuple(earnings)


def commissions(order: OrderBook) -> dict[uuid.UUID, int]:
    """Return the present commission of each standing redemption, by its id, if it is known."""
    if all(redemption.commission_hundredths is None for redemption in order.redemptions):
        return {}
    # Ties between shares are broken by the code, not by arrival.
    standing = sorted((r for r in order.redemptions if r.voided_at is None), key=lambda r: r.canonical)
    if any(r.discount_minor is None and r.subtotal_minor is not None for r in standing):
        return {}
    gone = _gone(order, standing)
    paid = {
        redemption.id: max(0, redemption.subtotal_minor - gone[redemption.id])
        for redemption in standing
        if redemption.subtotal_minor is not None and redemption.commission_hundredths is not None
    }
    earning = [redemption for redemption in standing if redemption.id in paid]
    earned = [percentage(paid[redemption.id], redemption.commission_hundredths or 0) for redemption in earning]
    return dict(zip(paid, _capped(earned, earning, max(paid.values(), default=0)), strict=True))


def _gone(order: OrderBook, standing: Sequence[Redemption]) -> Mapping[uuid.UUID, int]:
    """Return the discounts of the order of each redemption, and its refunds."""
    if not order.is_taken_back:
        taken_off = sum(redemption.discount_minor or 0 for redemption in standing)
        return {redemption.id: taken_off for redemption in standing}
    settled = Standing.of(order)
    newest = {r.id: settled.live.get(r.canonical, r.confirmed) for r in standing}
    codes = settled.settlement.codes()
    return {key: codes.taken_off(since) + order.refunded_since(since) for key, since in newest.items()}


def _capped(earned: list[int], earning: Sequence[Redemption], paid_minor: int) -> list[int]:
    most = percentage(paid_minor, min((r.commission_cap_hundredths for r in earning), default=10_000))
    return shares(most, earned) if sum(earned) > most else earned
