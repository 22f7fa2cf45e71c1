"""Which codes of an order stand, by its facts: the purchases kept with its redemptions, and what was taken back.

Nothing is changed here; `settling` makes the order what this says.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.redemption.domain.books import OrderBook, Redemption
from services.redemption.domain.moments import Moment, is_later, is_newer
from services.redemption.domain.settlement import Bought, Settlement, TakenBack, by_claim, settle


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest purchase that stands, by code, and what took back the newest purchase of each redemption."""

    settlement: Settlement
    live: Mapping[str, Moment]
    ended: Mapping[uuid.UUID, TakenBack]

    @classmethod
    def of(cls, order: OrderBook) -> "Standing":
        """Settle an order."""
        facts = _facts(order)
        settlement = settle([bought for bought, _ in facts], _taken_back(order))
        live: dict[str, Moment] = {}
        ended: dict[uuid.UUID, TakenBack] = {}
        for place, (bought, redemption) in enumerate(facts):
            if settlement.stands(place):
                newest = live.get(bought.canonical)
                if newest is None or is_newer(bought.happened, newest):
                    live[bought.canonical] = bought.happened
            elif (back := settlement.ended_by[place]) is not None:
                # In the order of the times: of several purchases of one redemption the newest counts.
                ended[redemption.id] = back
        return cls(settlement, live, ended)


def is_cancelled(order: OrderBook | None, happened: Moment) -> bool:
    """Whether a purchase of an order was cancelled: its codes take up no uses."""
    return order is not None and any(not is_later(happened, each) for each in order.cancellations)


def is_taken_back(order: OrderBook | None, bought: Sequence[Bought], repeated: Sequence[Bought] = ()) -> bool:
    """Whether what was cancelled or refunded of an order means these purchases of it too, so that none would stand.

    `repeated` are those made with them, of codes that the order has.
    """
    if order is None or not order.is_taken_back or not bought:
        return False
    known = [*(fact for fact, _ in _facts(order)), *repeated]
    settlement = settle([*known, *bought], _taken_back(order))
    return not any(settlement.stands(place) for place in range(len(known), len(known) + len(bought)))


def bought_again(redemption: Redemption, happened: Moment) -> Bought:
    """Return one more purchase of a code that an order has, or had."""
    return Bought(redemption.canonical, redemption.discount_minor, redemption.subtotal_minor, happened)


def known_of(order: OrderBook, canonical: str, happened: Moment) -> Redemption | None:
    """Return what an order has of a code: a redemption that stands, or one with which the purchase was taken back."""
    if (standing := order.redeemed(canonical)) is not None:
        return standing
    voided = [redemption for redemption in order.redemptions if redemption.canonical == canonical]
    for redemption in voided:
        if (alone := redemption.voided_alone) is not None and not is_later(happened, alone):
            return redemption
    if not voided:
        return None
    return voided[-1] if is_taken_back(order, [bought_again(voided[-1], happened)]) else None


def _facts(order: OrderBook) -> list[tuple[Bought, Redemption]]:
    alone: dict[str, list[Moment]] = {}
    for redemption in order.redemptions:
        if (moment := redemption.voided_alone) is not None:
            alone.setdefault(redemption.canonical, []).append(moment)
    facts = [
        (
            Bought(
                r.canonical,
                r.discount_minor,
                r.subtotal_minor,
                happened,
                next((each for each in alone.get(r.canonical, ()) if not is_later(happened, each)), None),
            ),
            r,
        )
        for r in order.redemptions
        for happened in r.bought
    ]
    return sorted(facts, key=lambda fact: (*by_claim(fact[0].happened), fact[0].canonical))


def _taken_back(order: OrderBook) -> Sequence[TakenBack]:
    whole = [TakenBack(happened) for happened in order.cancellations]
    return [*whole, *(TakenBack(refund.happened, refund.amount_minor) for refund in order.refunds)]
