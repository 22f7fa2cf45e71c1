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


def would_stand(order: OrderBook, voided: Redemption, happened: Moment) -> bool:
    """Whether one more purchase of a code that the order had would stand."""
    facts = [bought for bought, _ in _facts(order)]
    facts.append(Bought(voided.canonical, voided.discount_minor, voided.subtotal_minor, happened))
    return settle(facts, _taken_back(order)).stands(len(facts) - 1)


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
